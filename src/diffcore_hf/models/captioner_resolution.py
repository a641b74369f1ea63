"""Resolution of a captioner: its commit and its kind, without its weights. Loading is in captioner.py."""

from __future__ import annotations

from diffcore_hf.config.augment import CaptionerConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models import library_classes
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.weights_access import HashCache, PinnedWeights, read_json, resolve_weights

CAPTIONER_REMEDY = "Give prompts.captioner an image captioner, such as Salesforce/blip-image-captioning-large"


def resolve_captioner(config: CaptionerConfig, *, hash_cache: HashCache = None) -> PinnedWeights:
    """Returns the pinned weights of a captioner.

    Args:
        config: the captioner.
        hash_cache: hashes of local files, see `resolve_weights`.

    Raises:
        UserError: the model does not exist, has only pickled weights, or does not generate a text from an image.
    """
    weights = resolve_weights(config.path, config.revision, "captioner", hash_cache=hash_cache)
    with library_errors(f"{config.path} is not a captioner: config.json cannot be read", CAPTIONER_REMEDY):
        model_type = str(read_json(weights, "config.json").get("model_type"))
    if not library_classes.is_captioner(model_type):
        raise UserError(f"{config.path} is of type {model_type}, which describes no images. {CAPTIONER_REMEDY}")
    return weights

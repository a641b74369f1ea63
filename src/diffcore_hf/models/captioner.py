"""Captioner: describes a real image by a text, with any captioner of transformers.

Owns loading and generation. A caption depends on its image alone: each image is a batch of its own, and the most
probable next token is taken. The model runs in float32 as an image tower does.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from PIL import Image

from diffcore_hf.config.augment import CaptionerConfig
from diffcore_hf.models.captioner_resolution import CAPTIONER_REMEDY
from diffcore_hf.models.components import check_headers, load_network
from diffcore_hf.models.library_errors import library_errors
from diffcore_hf.models.model_views import model_view
from diffcore_hf.models.runtime import pick_device, quiet_loading, quiet_warnings
from diffcore_hf.models.weights_access import local_folder, resolve_weights


class Captioner:
    """An image captioner, whose weights are loaded on first use.

    Args:
        config: the captioner.
        device: auto, cpu, mps, cuda or cuda:<number>.
    """

    def __init__(self, config: CaptionerConfig, *, device: str = "auto"):
        self.config = config
        self.device = device
        self._model: Any = None
        self._processor: Any = None
        self._tokenizer: Any = None

    def load(self) -> Any:
        """Returns the model. The first call loads it.

        Raises:
            UserError: transformers cannot load the files as a captioner.
        """
        if self._model is not None:
            return self._model
        path = self.config.path
        weights = resolve_weights(path, self.config.revision, "captioner", identify=False)
        with quiet_loading(), model_view(local_folder(weights), path) as view:
            options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            with library_errors(f"{path} cannot be loaded as a captioner", CAPTIONER_REMEDY):
                self._processor = transformers.AutoImageProcessor.from_pretrained(view, **options)
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(view, **options)
                config = transformers.AutoConfig.from_pretrained(view, **options)
                cls = transformers.AutoModelForImageTextToText._model_mapping[type(config)]
            check_headers(cls, view, path, config=config)
            model = load_network(cls, view, path, dtype=torch.float32, config=config)
        self._model = model.eval().requires_grad_(False).to(pick_device(self.device))
        return self._model

    def caption(self, image: Image.Image) -> str:
        """Returns the caption of an RGB image.

        Raises:
            UserError: the model does not generate a text from an image alone.
        """
        model = self.load()
        remedy = f"It must describe an image without a question. {CAPTIONER_REMEDY}"
        with (
            torch.no_grad(),
            quiet_warnings(),
            library_errors(f"{self.config.path} cannot describe an image", remedy),
        ):
            pixels = self._processor(images=image, return_tensors="pt")["pixel_values"].to(model.device)
            tokens = model.generate(
                pixel_values=pixels, max_new_tokens=self.config.tokens, do_sample=False, num_beams=1
            )
            return str(self._tokenizer.decode(tokens[0], skip_special_tokens=True)).strip()

"""Names of the mixers of this package. They are checked before torch is imported."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from diffcore_hf.core.errors import UserError

MIXERS: Mapping[str, str] = {
    "mixup": "diffcore_hf.training.mixers.mixup:Mixup",
    "cutmix": "diffcore_hf.training.mixers.cutmix:CutMix",
    "manifold_mixup": "diffcore_hf.training.mixers.manifold_mixup:ManifoldMixup",
    "augmix": "diffcore_hf.training.mixers.augmix:AugMix",
    "pixmix": "diffcore_hf.training.mixers.pixmix:PixMix",
    "resizemix": "diffcore_hf.training.mixers.resizemix:ResizeMix",
    "smoothmix": "diffcore_hf.training.mixers.smoothmix:SmoothMix",
    "snapmix": "diffcore_hf.training.mixers.snapmix:SnapMix",
    "saliencymix": "diffcore_hf.training.mixers.saliencymix:SaliencyMix",
    "attentive_cutmix": "diffcore_hf.training.mixers.attentive_cutmix:AttentiveCutMix",
    "guidedmixup_sr": "diffcore_hf.training.mixers.guidedmixup_sr:GuidedMixupSR",
    "guidedmixup_ap": "diffcore_hf.training.mixers.guidedmixup_ap:GuidedMixupAP",
    "puzzlemix": "diffcore_hf.training.mixers.puzzlemix:PuzzleMix",
    "comixup": "diffcore_hf.training.mixers.comixup:CoMixup",
    "transmix": "diffcore_hf.training.mixers.transmix:TransMix",
    "automix": "diffcore_hf.training.mixers.automix:AutoMix",
    "samix": "diffcore_hf.training.mixers.samix:SAMix",
}


def check_mixer_name(name: str | None) -> None:
    """Check a name without a colon; a mixer outside this package is named as `module:Class`.

    Raises:
        UserError: the package has no such mixer, or the name lists several mixers.
    """
    if name is None or ":" in name or name in MIXERS:
        return
    several = [part for part in re.split(r"[\s,+&/|;]+", name.strip("[]() ")) if part]
    if len(several) > 1 and set(several) <= set(MIXERS):
        raise UserError(
            f"mixer.name is {name!r}, but a training has one mixer. Use e.g. --mixer.name {several[0]}, or compare "
            f"them with --compare {','.join(dict.fromkeys(several))}"
        )
    near = difflib.get_close_matches(name, MIXERS, 1)
    hint = f"Did you mean {near[0]}?" if near else f"The mixers are {', '.join(MIXERS)}."
    raise UserError(f"mixer.name is {name!r}, which is not a mixer. {hint} Name a mixer of your own as module:Class")

"""The strategy `inter_class`: the row's own image is changed towards another class (Diff-Mix, Wang et al. 2024)."""

from __future__ import annotations

from types import MappingProxyType

from diffcore_hf.generation.image_to_image import FITS, ImageToImageStrategy


class InterClassStrategy(ImageToImageStrategy):
    """Adds noise to the image of the row and denoises it with the prompt of a class that is drawn for the unit.

    The image is computed as in `image_to_image`. Only the class in the prompt is another one (`strategy.targets`), and
    the label has two classes: the drawn class with the weight strength ** gamma_label, and the class of the row. The
    method of the paper also learns a token for each class and a LoRA; this strategy uses the names of the classes.

    Options:
        strength: share of the denoising steps, in (0, 1], or a list from which each unit draws one. The background
            of the real image stays visible up to about 0.7.
        fit: how the real image becomes square. crop: the centre. stretch: the whole image.
    """

    VERSION = "1"
    targets = "other"
    defaults = MappingProxyType({"strength": 0.7, "fit": FITS[0]})

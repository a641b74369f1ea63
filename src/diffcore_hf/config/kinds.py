"""Kinds of object and prompt templates: the noun, the contexts and the negative terms of each kind.

Owns these texts and the parsing of a template. method/prompts.py builds prompts from the texts. The texts are part of
config, because recipes are checked against them. A change of a text here changes the content of attempts.

Contexts are phrases that follow "a photo of a sparrow, a bird, ...". The first is empty, so that
some images have no added context. Negatives are terms that the model avoids: faults of any image, then typical faults
of the kind.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from diffcore_hf.core.errors import UserError

FAULTS = (
    "blurry",
    "low quality",
    "jpeg artifacts",
    "watermark",
    "caption text",
    "picture frame",
    "collage",
)
NOT_A_PHOTO = ("cartoon", "sketch", "painting", "3d render")


@dataclass(frozen=True)
class Kind:
    """One kind of object."""

    noun: str
    """The noun that follows the label in the caption as `a {noun}`. Empty: no noun follows."""
    contexts: tuple[str, ...]
    """Phrases for {context}; the first is ""."""
    negatives: tuple[str, ...]
    """Terms of the negative prompt."""
    is_context: bool = False
    """True if the classes of this kind are themselves contexts, such as scenes."""


KINDS: dict[str, Kind] = {
    "bird": Kind(
        "bird",
        ("", "in heavy snow", "in the rain", "at sunset", "on a branch in a forest", "on a rock by the sea",
         "in tall dry grass", "in morning fog", "flying in a clear sky"),
        (*FAULTS, *NOT_A_PHOTO, "multiple heads", "extra wings", "extra legs", "missing beak", "fused bodies", "toy",
         "taxidermy", "bird cage"),
    ),
    "pet": Kind(
        "pet",
        ("", "on a sofa in a living room", "on green grass in a park", "in fresh snow", "on a beach",
         "by a sunny window", "among autumn leaves", "on a city pavement in the rain"),
        (*FAULTS, *NOT_A_PHOTO, "multiple heads", "extra legs", "extra tail", "deformed eyes", "fused bodies",
         "plush toy", "human face"),
    ),
    "insect": Kind(
        "insect",
        ("", "on a green leaf", "on a yellow flower", "on tree bark", "on dry soil", "on a twig after rain",
         "in low evening light", "on a stone wall"),
        (*FAULTS, *NOT_A_PHOTO, "extra legs", "extra wings", "missing antennae", "fused bodies", "pinned specimen",
         "jewellery", "plastic toy"),
    ),
    "car": Kind(
        "car",
        ("", "on a snowy road", "on a city street in the rain", "on a mountain road at sunset", "in a parking garage",
         "on a desert highway", "on a street at night", "on a gravel road in a forest", "on a foggy morning"),
        (*FAULTS, *NOT_A_PHOTO, "deformed body", "melted wheels", "extra wheels", "missing wheels", "two fused cars",
         "wreck", "scale model", "car interior"),
    ),
    "aircraft": Kind(
        "aircraft",
        ("", "flying in a clear blue sky", "parked on an airport apron", "taking off from a wet runway", "at sunset",
         "on a snowy airfield", "flying above the clouds", "landing in haze", "in front of a hangar"),
        (*FAULTS, *NOT_A_PHOTO, "extra wings", "missing wing", "bent fuselage", "extra engines", "two fused aircraft",
         "crash", "scale model", "cockpit interior"),
    ),
    "flower": Kind(
        "flower",
        ("", "in a garden bed", "in a wild meadow", "covered with dew", "in the rain", "at the edge of a forest",
         "in a clay pot", "in low evening sun", "under an overcast sky"),
        (*FAULTS, *NOT_A_PHOTO, "plastic flowers", "embroidery", "wallpaper pattern", "deformed petals",
         "wilted petals", "oversaturated colours", "human hand"),
    ),
    "clothing": Kind(
        "piece of clothing",
        ("", "laid flat on a wooden table", "on a hanger against a white wall", "folded on a bed",
         "on a carpet in soft window light", "worn by a person on a street", "in a shop", "outdoors on a washing line"),
        (*FAULTS, *NOT_A_PHOTO, "extra sleeves", "asymmetric collar", "deformed hands", "deformed face",
         "garbled lettering", "brand logo", "sewing pattern"),
    ),
    "food": Kind(
        "dish",
        ("", "on a white plate", "on a rustic wooden table", "in a restaurant in warm light", "seen from above",
         "in a bowl on a kitchen counter", "as street food in a paper tray", "at an outdoor picnic",
         "in daylight by a window"),
        (*FAULTS, *NOT_A_PHOTO, "plastic food", "mould", "unappetising colours", "melted cutlery", "deformed hands",
         "empty plate", "menu card"),
    ),
    "scene": Kind(
        "place",
        ("", "on a sunny day", "on an overcast day", "in the rain", "at dusk", "in winter", "in autumn", "in early fog",
         "without people"),
        (*FAULTS, *NOT_A_PHOTO, "tilted horizon", "warped buildings", "floor plan", "scale model", "fish-eye lens"),
        is_context=True,
    ),
    "texture": Kind(
        "texture",
        ("", "in close-up", "in raking light", "in soft daylight", "seen at an angle", "under a warm lamp",
         "on a wet surface"),
        (*FAULTS, "cartoon", "3d render", "visible tiling seams", "people", "empty background"),
        is_context=True,
    ),
    "satellite": Kind(
        "place seen from above",
        ("", "in winter with snow", "in summer", "in autumn", "in the dry season", "after heavy rain",
         "under thin haze", "with long shadows in the morning"),
        (*FAULTS, "cartoon", "sketch", "3d render", "map with labels", "tilted horizon", "oblique view",
         "visible tile seams", "compass rose"),
        is_context=True,
    ),
    "industrial": Kind(
        "manufactured part",
        ("", "on a conveyor belt", "on a steel table", "on a dark background", "on a white background",
         "under oblique light", "under bright diffuse light", "in close-up"),
        (*FAULTS, *NOT_A_PHOTO, "technical drawing", "exploded view", "several parts", "human hand",
         "text label"),
    ),
    "document": Kind(
        "document",
        ("", "scanned in black and white", "scanned in colour", "photographed on a desk", "on crumpled paper",
         "with a fold in the middle", "slightly tilted", "under a warm lamp"),
        ("blurry", "low quality", "jpeg artifacts", "watermark", "collage", "cartoon", "3d render", "human hand",
         "cropped page", "several pages"),
    ),
    "general": Kind(
        "",
        ("", "in heavy snow", "in the rain", "at sunset", "in a forest", "on a city street", "in bright daylight",
         "in a room", "in fog"),
        (*FAULTS, *NOT_A_PHOTO, "deformed", "duplicated object", "cropped object"),
    ),
}  # fmt: skip

NO_CONTEXT_FITS = {
    name: (
        "no context fits medical images, because the device, the contrast and the view can be part of the diagnosis. "
        "Use --kind general --prompts.contexts '[\"\"]', and let an expert look at the images"
    )
    for name in ("medical", "medicine", "radiology", "xray", "x-ray", "mri", "ct", "histology", "pathology")
}
"""Name of a kind that was left out deliberately -> the reason and a remedy."""

TEMPLATES = {
    "caption": "a photo of a {label}, a {kind}, {context}",
    "paper": "Generate {context} to the {label}, a {kind} object",
}
"""Named templates; `paper` is an editing instruction, for models that were trained on such instructions."""

PAPER_CONTEXTS = ("heavy snow", "rain", "fog", "a sunset sky", "autumn leaves", "night light", "a sandstorm", "spray")
"""Contexts for template `paper`: nouns, not phrases. The first context is the example of the paper. This project
added the remaining contexts."""


def template_pieces(template: str) -> list[tuple[str, str | None]]:
    """Parse a template or a context into pairs: a text, and the placeholder that follows it (None if there is none).

    Raises:
        UserError: the braces do not pair, or a placeholder is not a plain name.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"{template!r} has braces that do not pair ({error}). Write {{{{ for a brace") from None
    for _, field, spec, conversion in parsed:
        if field is not None and (not field.strip() or spec or conversion or set("{}") & set(field)):
            shown = field + ("!" + conversion if conversion else "") + (":" + spec if spec else "")
            raise UserError(
                f"{template!r} has the placeholder {{{shown}}}, which is not a plain name. Use e.g. {{label}}"
            )
    return [(text, field) for text, field, _, _ in parsed]

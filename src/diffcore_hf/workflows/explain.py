"""Explains the models of finished trainings: draws Grad-CAM maps, and measures them against masks.

Owns the order of the steps, and joins training and publishing. The maps are computed in training/saliency, and the
sheet is drawn in publishing/pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffcore_hf.core.folder import canonical_json, check_target, write_atomic
from diffcore_hf.publishing.pictures.card_sheet import png_bytes
from diffcore_hf.publishing.pictures.saliency_sheet import SaliencyTile, saliency_sheet
from diffcore_hf.training.comparison.finished import FinishedTrainings, finished_trainings
from diffcore_hf.training.saliency.agreement import TOLERANCE
from diffcore_hf.training.saliency.explanation import Explanation, Panel, explain
from diffcore_hf.training.saliency.figures import table
from diffcore_hf.workflows.class_names import shown_names

Report = Callable[[str], None]
"""Callback that receives each message for the user."""

TITLE = "Image regions that each arm uses"
LEGEND = "Grad-CAM for the class of the label, by the model of seed {seed}. The images were chosen by seed {chosen}"


def explain_trainings(
    folder: str | Path,
    report: Report,
    *,
    arms: Sequence[str] = (),
    mask: str | None = None,
    seed: int = 0,
    images: int = 6,
    layer: str | None = None,
    changes: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Write saliency.png and saliency.json into the folder of a training, and report the figures.

    Args:
        folder: output of a finished training.
        report: callback for each message.
        arms: names of the arms; empty: all arms.
        mask: name of the column of masks in the test split; None: maps are drawn, but there are no figures.
        seed: seed that chooses the images.
        images: number of images.
        layer: name of the module that the maps are read from; None: it is found.
        changes: layer of keys that replace those of the recipes, such as another `data.path`.
        progress: show a progress bar.

    Returns:
        The content of saliency.json.

    Raises:
        UserError: the input is not valid.
    """
    trainings = finished_trainings(folder, arms, changes)
    picture, figures = trainings.folder / "saliency.png", trainings.folder / "saliency.json"
    for path in (picture, figures):
        check_target(path)
    explanation = explain(trainings, mask=mask, seed=seed, count=images, layer=layer, progress=progress)
    content = _content(trainings, explanation, mask, seed)
    write_atomic(picture, png_bytes(_sheet(trainings, explanation, seed)))
    write_atomic(figures, canonical_json(content))
    if explanation.figures is not None:
        report(figures_text(content))
    report(f"{picture} shows the maps of {len(explanation.row_ids)} images")
    report(f"{figures} contains the figures and the names of the layers")
    return content


def figures_text(content: Mapping[str, Any]) -> str:
    """Return the tables of saliency.json as Markdown, with the sentences that explain them."""
    figures, count = content["figures"], content["images"] - sum(content["left_out"].values())
    blocks = [f"All {count:,} test images with a mask:", table(figures["all"])]
    if figures["right"]:
        counts = figures["right"][0]["images_by_seed"]
        number = " or ".join(f"{count:,}" for count in sorted(set(counts)))
        blocks += [f"The test images that all arms classify correctly ({number} by seed):", table(figures["right"])]
    else:
        blocks.append("No test image is classified correctly by all arms.")
    seeds = len(content["seeds"])
    blocks.append(
        "Energy is the share of the map on the object. An even map has the share of the area, and lift is energy "
        "divided by area. A hit is a map whose maximum lies on the object or at most "
        f"{100 * content['tolerance']:.0f} % of the side away. Chance is the share of pixels that would be a hit. "
        + (f"Means over {seeds} seeds ± half of the 95 % interval (Student's t)." if seeds > 1 else "One seed.")
    )
    blocks += [f"{number:,} images are left out: {reason}." for reason, number in content["left_out"].items()]
    return "\n\n".join(blocks)


def _content(trainings: FinishedTrainings, explanation: Explanation, mask: str | None, seed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "arms": list(trainings.arms),
        "seeds": list(trainings.seeds),
        "split": explanation.split,
        "images": explanation.images,
        "layers": dict(explanation.layers),
        "drawn": {"seed": seed, "rows": list(explanation.row_ids)},
        "mask": mask,
        "tolerance": TOLERANCE,
        "left_out": dict(explanation.left_out),
        "figures": explanation.figures,
    }


def _sheet(trainings: FinishedTrainings, explanation: Explanation, seed: int) -> Any:
    columns = [explanation.panels[arm] for arm in trainings.arms]
    names = shown_names(explanation.classes)
    rows = [[_tile(panel, names) for panel in panels] for panels in zip(*columns, strict=True)]
    legend = LEGEND.format(seed=trainings.seeds[0], chosen=seed)
    return saliency_sheet(trainings.arms, rows, title=TITLE, legend=legend)


def _tile(panel: Panel, classes: Sequence[str]) -> SaliencyTile:
    return SaliencyTile(
        pixels=panel.pixels,
        map=panel.map,
        mask=panel.mask,
        label=classes[panel.label] if panel.label >= 0 else "unreadable",
        predicted=classes[panel.predicted],
        confidence=panel.confidence,
        energy=panel.energy,
    )

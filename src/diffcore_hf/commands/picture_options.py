"""The options of the commands that only draw and measure: `preview` and `explain`."""

from __future__ import annotations

from dataclasses import dataclass

from diffcore_hf.config.fields import option
from diffcore_hf.core.errors import UserError


@dataclass(frozen=True)
class PreviewOptions:
    """Draw a contact sheet and histograms of the similarities of a run, or a training batch.

    With --batch, the flags below set keys of the training recipe, e.g. --mixer.options or --model.name.
    """

    samples: int | None = option(
        None,
        help="Number of attempts to show, kept or rejected. null: a balanced choice of kept and rejected attempts.",
    )
    mixed: bool = option(
        False,
        help=("Show only a training batch: real image, counterpart and their mix. OUT may then also be an export."),
    )
    batch: tuple[str, ...] = option(
        (),
        commas=True,
        help=(
            "Show only the first training batch of these arms, such as plain, cutmix or mix, with the labels. OUT may "
            "then also be an export, another dataset or the output of a training, whose recipe is used. The picture "
            "of a dataset on the Hub is written to the current folder."
        ),
    )
    config: str | None = option(
        None, help="For batch: a training recipe, as for recipes/train.py. null: a resnet18 with random weights."
    )

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise UserError(f"samples is {self.samples}, not an integer of at least 1. Use e.g. 20")
        if self.samples is not None and self.mixed:
            raise UserError(
                f"samples is {self.samples}, but --mixed shows a training batch. Give only one of --samples and --mixed"
            )
        if len(set(self.batch)) < len(self.batch) or not all(name.strip() for name in self.batch):
            raise UserError(f"batch is {','.join(self.batch)!r}, not names of arms, each once. Use e.g. plain,cutmix")
        if self.batch and (self.mixed or self.samples is not None):
            other = "mixed" if self.mixed else "samples"
            raise UserError(f"batch and {other} are both given, but they draw different pictures. Give one of them")
        if self.config is not None and not self.batch:
            raise UserError(
                f"config is {self.config!r}, which only a training batch reads. Add e.g. --batch plain,cutmix"
            )


@dataclass(frozen=True)
class ExplainOptions:
    """Draw heat maps (Grad-CAM) of the image regions that the models of a finished training use.

    Every arm has maps of the same test images.

    The maps are written to saliency.png and the figures to saliency.json, both in the folder of the training. The maps
    are for the class of the label. All maps have one scale of colours, so that arms can be compared. With --mask, all
    test images are measured. The figures are the share of the map on the object, and how often the maximum of the map
    lies on the object. Each figure has the value that is expected by chance. Intervals are over the seeds.
    """

    arms: tuple[str, ...] = option(
        (), commas=True, help="Arms to explain; the others are compared with the first one. []: all arms."
    )
    mask: str | None = option(
        None,
        help=(
            "Column of the test split with mask images of the size of their images; the object is brighter than the "
            "rest. null: no figures."
        ),
    )
    seed: int = option(0, help="Seed that chooses the test images that are drawn.")
    images: int = option(6, help="Number of test images that are drawn, at most 50.")
    layer: str | None = option(
        None,
        help=(
            "Module whose output is read, such as layer3. null: the last stage with 4 x 4 positions or more; for a ViT "
            "the norm before the last attention."
        ),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.images <= 50:
            raise UserError(f"images is {self.images}, not an integer from 1 to 50. Use e.g. 6")

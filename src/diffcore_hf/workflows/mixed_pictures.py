"""Draws the contact sheet of mixing: training samples of a published dataset.

Owns the choice of rows, and joins training and publishing. Samples are created in training/data, and the sheet is drawn
in publishing/pictures. This module imports torch, so it is imported only to draw this sheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from diffcore_hf.core.dataset_columns import column_values, image_mask, undecoded
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.images import UnreadableImage, decode, encode, read_bytes
from diffcore_hf.core.loading import load_splits
from diffcore_hf.method.mixing import MixDraw
from diffcore_hf.publishing.pictures.card_sheet import png_bytes
from diffcore_hf.publishing.pictures.mixed_sheet import MixedTile, choose_mixed, mixed_sheet
from diffcore_hf.training.data.columns import MIXED, Columns, name_columns, read_manifest
from diffcore_hf.training.data.row_mixer import Sample
from diffcore_hf.training.data.transform import MixTransform

if TYPE_CHECKING:
    from datasets import Dataset

TILES = 12
PRESET = "fgvc_scratch_224"
MAX_ROWS = 4096
"""Maximum number of rows from which the tiles are chosen; they are evenly spaced in a larger dataset."""
TITLE = "Real, generated, and the mix that training sees"
LEGEND = (
    "Below each mix: class, context of the generated image, kind of mix. Mixed at {size} pixels, cropped and flipped "
    "at random, as in preset {preset}"
)


@dataclass(frozen=True)
class _MixedRow:
    """One mixed sample and its row."""

    sample: Sample
    mix: MixDraw
    real: Mapping[str, Any]
    """Undecoded real image."""
    generated: Mapping[str, Any]
    """Undecoded generated image."""
    name: str
    context: str

    def tile(self) -> MixedTile:
        return MixedTile(
            real=read_bytes(self.real),
            generated=read_bytes(self.generated),
            mixed=encode(self.sample.pixels.permute(1, 2, 0).numpy(), "png"),
            name=self.name,
            context=self.context,
            pixel=self.mix.pixel,
            generated_into_real=self.mix.generated_into_real,
            lam=self.mix.lam,
            share=self.sample.share,
        )


def mixed_batch(out: str | Path) -> bytes:
    """Draws real and generated images of a published dataset beside their mixes, as PNG.

    The mixes are the training samples of epoch 0 in mode `append`.

    Args:
        out: the folder of a run, or an export with counterparts beside their rows.

    Raises:
        UserError: this is not a finished dataset, or no row has both a real and a generated image.
    """
    rows, names, manifest = _pairs(Path(out))
    described = _describe(rows, names, _prompt_names(Path(out), manifest))
    # The kind of a mix is known only after mixing. So more rows are mixed than shown, to choose from both kinds.
    drawn = choose_mixed([(name, context, True) for name, context in described], 3 * TILES)
    batch = rows.select(drawn).select_columns([names.image, names.generated, names.label, names.row_id])[:]
    size = training_size(batch[names.image])
    transform = MixTransform(size, transform=PRESET, data=str(out))
    samples = transform.samples({**batch, MIXED: [True] * len(drawn)}, [0] * len(drawn))
    mixed = [
        _MixedRow(sample, sample.mix, real, generated, *described[row])
        for sample, real, generated, row in zip(samples, batch[names.image], batch[names.generated], drawn, strict=True)
        if sample.mix is not None
    ]
    chosen = choose_mixed([(row.name, row.context, row.mix.pixel) for row in mixed], TILES)
    tiles = [mixed[index].tile() for index in chosen]
    return png_bytes(mixed_sheet(tiles, title=TITLE, legend=LEGEND.format(size=size, preset=PRESET)))


def training_size(cells: Sequence[Mapping[str, Any]]) -> int:
    """Returns the side of the samples: 224 pixels, or for smaller images their median side as a multiple of 8."""
    sides = sorted(side for side in map(_shorter_side, cells) if side is not None)
    if not sides:
        raise UserError(
            "no real image of the dataset can be read, so there is nothing to mix. Run verify on the folder"
        )
    return max(8, min(224, sides[len(sides) // 2] // 8 * 8))


def _shorter_side(cell: Mapping[str, Any]) -> int | None:
    """Returns the shorter side of an image; None if it cannot be read."""
    try:
        return min(decode(cell).size)
    except UnreadableImage:
        return None


def _pairs(out: Path) -> tuple[Dataset, Columns, Mapping[str, Any]]:
    """Returns at most MAX_ROWS rows that have both images, the names of their columns, and the manifest.

    The images of the rows are not decoded.
    """
    manifest = read_manifest(str(out)) if out.is_dir() else None
    if manifest is None:
        raise UserError(f"{out} is not a finished dataset of diffcore-hf. Give a folder that augment or export wrote")
    try:
        splits, _ = load_splits(str(out), None, None, None, section="data")
    except UserError as error:
        cause = (Folder(out).faults() or [str(error)])[0]
        raise UserError(f"{out} cannot be read: {cause}. Run augment or export again") from error
    rows = splits[manifest["recipe"]["source"]["split"]]
    names = name_columns(rows.column_names, manifest)
    if names.generated not in rows.column_names:
        raise UserError(
            f"{out} has no column of counterparts: its layout is {manifest.get('layout')!r}. "
            "Name the folder that it was exported from, or export with --layout columns"
        )
    has_generated, has_real = image_mask(rows, names.generated), image_mask(rows, names.image)
    if not has_generated.any():
        raise UserError(
            f"{out} has no counterpart to mix with, because no attempt was kept. "
            "Export with --filter.policy.name all, or augment with more attempts"
        )
    paired = np.flatnonzero(has_generated & has_real)
    if not len(paired):
        raise UserError(f"{out} was published without its original images. Export with --include_originals true")
    paired = paired[np.linspace(0, len(paired) - 1, min(len(paired), MAX_ROWS)).astype(int)]
    return undecoded(rows, names.image, names.generated).select(paired), names, manifest


def _describe(rows: Dataset, names: Columns, prompt_names: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns the class name and the context of each row. The class name is the one in the prompts."""
    from datasets import ClassLabel

    labels, contexts = column_values(rows, names.label), column_values(rows, names.prefix + "context")
    feature = rows.features[names.label]
    classes = [feature.names[label] if isinstance(feature, ClassLabel) else str(label) for label in labels]
    return [(prompt_names.get(name, name), context or "") for name, context in zip(classes, contexts, strict=True)]


def _prompt_names(out: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Returns a map from the class names of the source to the class names in prompts."""
    prompt_names: dict[str, str] = {}
    for file in manifest["configs"].get("classes", {}).get("train", []):
        table = pq.read_table(out / file, columns=["name", "prompt_name"]).to_pydict()
        prompt_names |= dict(zip(table["name"], table["prompt_name"], strict=True))
    return prompt_names

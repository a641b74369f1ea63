"""Exhibits of mixing: samples of a published dataset as training would make them, on a sheet.

Owns the choice of rows and the joining of training and publishing; imports torch, so jobs.py imports it when it is
asked for. How a sample is made is training's, how the sheet looks is publishing's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from diffcore_hf.core import images
from diffcore_hf.core.dataset_columns import column_values, image_mask, undecoded
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder
from diffcore_hf.core.loading import load_splits
from diffcore_hf.publishing.pictures.contact_sheet import png_bytes
from diffcore_hf.publishing.pictures.mixed_sheet import MixedTile, choose_mixed, mixed_sheet
from diffcore_hf.training.data.columns import MIXED, Columns, name_columns, read_manifest
from diffcore_hf.training.data.row_mixer import Sample
from diffcore_hf.training.data.transform import MixTransform

if TYPE_CHECKING:
    from datasets import Dataset

TILES = 12
PRESET = "fgvc_scratch_224"
MOST_ROWS = 4096
"""Rows among which is chosen; of more, every so many-th."""
TITLE = "Real, generated, and the mix that training sees"
LEGEND = (
    "Under each: the class, the context of the generated image, the mix. Mixed at {size} pixels, cropped and flipped "
    "at random, as {preset} does"
)


def mixed_batch(out: str | Path) -> bytes:
    """Rows of a published dataset beside the training samples that epoch 0 of mode `append` makes of them, as PNG.

    Args:
        out: the folder of a run, or an export with counterparts beside their rows.

    Raises:
        UserError: no finished dataset, or one without pairs of a real and a generated image.
    """
    from datasets import ClassLabel

    rows, names, manifest = _pairs(Path(out))
    words = _prompt_names(Path(out), manifest)
    labels, contexts = column_values(rows, names.label), column_values(rows, names.prefix + "context")
    feature = rows.features[names.label]
    called = [feature.names[label] if isinstance(feature, ClassLabel) else str(label) for label in labels]
    described = [(words.get(name, name), context or "") for name, context in zip(called, contexts, strict=True)]
    # How a row is mixed shows only once it is: three times as many as are shown, to choose as many of either kind from.
    drawn = choose_mixed([(*words, True) for words in described], 3 * TILES)
    batch = rows.select(drawn).select_columns([names.image, names.generated, names.label, names.row_id])[:]
    size = training_size(batch[names.image])
    mix = MixTransform(size, transform=PRESET, data=str(out))
    samples = mix.samples({**batch, MIXED: [True] * len(drawn)}, [0] * len(drawn))
    good = [place for place, sample in enumerate(samples) if sample.mix]
    chosen = choose_mixed([(*described[drawn[place]], samples[place].mix.pixel) for place in good], TILES)
    tiles = [
        _tile(samples[good[k]], batch[names.image][good[k]], batch[names.generated][good[k]], described[drawn[good[k]]])
        for k in chosen
    ]
    return png_bytes(mixed_sheet(tiles, title=TITLE, legend=LEGEND.format(size=size, preset=PRESET)))


def training_size(cells: Sequence[Mapping[str, Any]]) -> int:
    """Side of the samples: 224 pixels, or less where images are smaller, so that none is blown up: a multiple of 8."""
    sides = sorted(min(images.decode(cell).size) for cell in cells)
    return max(8, min(224, sides[len(sides) // 2] // 8 * 8))


def _pairs(out: Path) -> tuple[Dataset, Columns, Mapping[str, Any]]:
    """The rows that have both images, undecoded, at most MOST_ROWS of them; their columns; diffcore.json."""
    manifest = read_manifest(str(out)) if out.is_dir() else None
    if manifest is None:
        raise UserError(f"{out} is no finished dataset of diffcore-hf. Name the --output of an augment or an export")
    try:
        splits, _ = load_splits(str(out), None, None, None, section="data")
    except ValueError as error:
        why = (Folder(out).faults() or [error])[0]
        raise UserError(f"{out} cannot be read: {why}. Run the augment or export that made it again") from error
    rows = splits[manifest["recipe"]["source"]["split"]]
    names = name_columns(rows.column_names, manifest)
    if names.generated not in rows.column_names:
        raise UserError(f"{out} has no column of counterparts: its layout is {manifest.get('layout')!r}. "
                         "Name the run that it was exported from, or export with --layout columns")  # fmt: skip
    has_generated, has_real = image_mask(rows, names.generated), image_mask(rows, names.image)
    if not has_generated.any():
        raise UserError(f"{out} has no counterpart to mix with, none was kept. Export with --filter.policy.name all, "
                         "or augment with more attempts")  # fmt: skip
    places = np.flatnonzero(has_generated & has_real)
    if not len(places):
        raise UserError(f"{out} was published without its original images. Export with --include_originals true")
    places = places[np.linspace(0, len(places) - 1, min(len(places), MOST_ROWS)).astype(int)]
    return undecoded(rows, names.image, names.generated).select(places), names, manifest


def _prompt_names(out: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Class names as the source has them -> as prompts call them."""
    files = manifest["configs"].get("classes", {}).get("train", [])
    tables = [pq.read_table(out / file, columns=["name", "prompt_name"]) for file in files]
    return {name: words for table in tables for name, words in zip(*table.to_pydict().values(), strict=True)}


def _tile(sample: Sample, real: Mapping[str, Any], generated: Mapping[str, Any], words: tuple[str, str]) -> MixedTile:
    return MixedTile(
        real=images.read_bytes(real),
        generated=images.read_bytes(generated),
        mixed=images.encode(sample.pixels.permute(1, 2, 0).numpy(), "png"),
        name=words[0],
        context=words[1],
        pixel=sample.mix.pixel,
        generated_into_real=sample.mix.generated_into_real,
        lam=sample.mix.lam,
        share=sample.share,
    )

"""MixTransform: rows of an augmented dataset to training images, mixed on the fly (Eq. 6 to 8).

Owns the order in which a sample is made: draw everything, decode what the draw needs, frame, mix, crop, augment. Works
in `Dataset.with_transform`, in `map` on a stream, and under our own loader. Does not own the maths (method/mixing.py),
the crops (framing.py) nor the pool (pool.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.config.train import Transform
from diffcore_hf.core import images, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.jpeg import fast_decoder
from diffcore_hf.method.mixing import MixDraw, apply_mix, cover, draw_mix, real_share
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.columns import MIXED, name_columns, read_manifest, require
from diffcore_hf.training.data.pool import Pool, as_pool

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

IGNORED = -100
"""Label of a sample whose image cannot be read: what cross_entropy ignores."""


@dataclass(frozen=True)
class Sample:
    """One training image and how it came about."""

    pixels: Tensor
    """(3, size, size) uint8."""
    label: Any
    mix: MixDraw | None = None
    """The draw, where two images were mixed."""
    share: float = 1.0
    """Share of the frame that is real."""
    seconds: float = 0.0
    """Spent on the second image and the mix."""


@dataclass(frozen=True)
class RowDraw:
    """What was drawn for a row before anything was decoded."""

    row_id: str
    stream: np.random.Generator
    """What is left of the row's own stream: the mix and the crop come from it."""
    mixed: bool
    place: int | None
    """Of its partner in the pool; None where there is none, or no pool."""


class Pair(Protocol):
    """The two images of a row, decoded when asked for."""

    def real(self) -> Tensor:
        """In its frame (framing.framed), (3, H, W) uint8."""

    def alone(self) -> Tensor:
        """The generated one in a frame of its own."""

    def covering(self, height: int, width: int) -> Tensor:
        """The generated one in the real one's frame."""

    def generated(self) -> Tensor:
        """The generated one as it is stored."""


class Stored:
    """A pair as the dataset stores it."""

    def __init__(self, real: Any, generated: Any, protocol: framing.Protocol):
        self._real, self._generated, self._protocol = real, generated, protocol

    def real(self) -> Tensor:
        return framing.framed(pixels(self._real), self._protocol)

    def alone(self) -> Tensor:
        return framing.framed(self.generated(), self._protocol)

    def covering(self, height: int, width: int) -> Tensor:
        return cover(self.generated(), height, width)

    def generated(self) -> Tensor:
        return pixels(self._generated)


def pixels(cell: Any) -> Tensor:
    """An undecoded cell, or a PIL image, as (3, H, W) uint8 (channels last in memory, as it is decoded).

    Raises:
        UnreadableImage: see core/images.py.
    """
    if cell is None or isinstance(cell, Mapping):
        array = images.decode_pixels(cell, fast_decoder())
    else:
        array = images.to_array(images.to_rgb(cell))
    return torch.from_numpy(array).permute(2, 0, 1)


class MixTransform:
    """Real rows to training images, mixed with their generated counterparts as Eq. 6 to 8 say.

    `mixing_rows(ds).with_transform(MixTransform(224))` is mode `append`: column `mixed` decides. Without that column
    rows are mixed in place with `probability` (mode `replace`). `probability=0` is the plain transform.

    A sample is a function of (seed, epoch, row id, copy, mixed or not) once `set_epoch` was called: the same for any
    number of workers, batch size and processes. Until then draws come from torch's global generator, fresh each time.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        probability: float = 1.0,
        partner: Literal["own", "class", "real_same_class"] = "own",
        kind: Literal["both", "pixel", "patch", "none"] = "both",
        pi: float = 0.5,
        alpha: float = 1.0,
        pool: Dataset | Pool | None = None,
        seed: int = 0,
        transform: Transform | str = "fgvc_scratch_224",
        normalise: bool | tuple[Sequence[float], Sequence[float]] = True,
        data: str | None = None,
        image: str | None = None,
        generated: str | None = None,
        label: str | None = None,
    ):
        """Configure; nothing is read but diffcore.json of `data`.

        Args:
            size: side of the training image in pixels; None: that of `transform`.
            probability: how often a row is mixed, where no column `mixed` decides.
            partner: `own`: the row's counterpart. `class`: any image of its class in the pool. `real_same_class`:
                another row of its class; the pool holds the real rows.
            kind: `both` (pixel- or patch-wise), `pixel`, `patch`, or `none`: the generated image alone (GenAug).
            pi: probability of pixel-wise mixing, under `both`.
            alpha: lambda ~ Beta(alpha, alpha).
            pool: a map-style dataset, for partners `class` and `real_same_class`.
            seed: every draw follows from it.
            transform: a preset's name, or a `Transform` with classical augmentation.
            normalise: True: float32, by the preset's mean and standard deviation; or these two; False: uint8.
            data: a folder or Hub id whose diffcore.json names the columns that are not given.
            image: column of the real images; default `image`.
            generated: column of the generated ones; default `generated`.
            label: column of the labels; default `label`.

        Raises:
            UserError: a value outside its range, an unknown preset, or no pool where one is needed.
        """
        for name, value, choices in (
            ("partner", partner, ("own", "class", "real_same_class")),
            ("kind", kind, ("both", "pixel", "patch", "none")),
        ):
            if value not in choices:
                raise UserError(f"{name} is {value!r}, not one of {', '.join(choices)}")
        for name, value in (("probability", probability), ("pi", pi)):
            if not 0 <= value <= 1:
                raise UserError(f"{name} is {value!r}, not a number in [0, 1]")
        if not alpha > 0:
            raise UserError(f"alpha is {alpha!r}, not a number above 0. Use e.g. 1.0")
        config = Transform(preset=transform) if isinstance(transform, str) else transform
        if size is not None:
            config = replace(config, size=size)
        self.protocol = framing.protocol_of(config)
        self.normalisation = (
            None if normalise is False else self.protocol.normalisation if normalise is True else normalise
        )
        self.probability, self.partner, self.kind, self.pi, self.alpha = probability, partner, kind, pi, alpha
        self.seed = seed
        self._given = {"image": image, "generated": generated, "label": label}
        self._manifest = read_manifest(data) if data else None
        self._classical = framing.classical(config, self.protocol)
        names = name_columns((), self._manifest, **self._given)
        self._pool = None if partner == "own" else as_pool(pool, partner, names)
        # In shared memory, so that it reaches loader workers that live on between epochs.
        self._epoch = torch.full((1,), -1, dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo: dict) -> MixTransform:
        # datasets copies the transform with the dataset; all copies hear set_epoch.
        return self

    def set_epoch(self, epoch: int) -> None:
        """From now on a sample is a function of (seed, epoch, row): call it before each epoch, workers hear it too."""
        self._epoch[0] = epoch

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """The face for `with_transform` and `map(batched=True)`.

        Returns:
            `pixel_values`, (B, 3, size, size) float32, or uint8 without normalisation; `label`, a list of B. A sample
            whose image cannot be read is black with label -100, which cross_entropy ignores, and is logged.
        """
        epoch = int(self._epoch[0])
        if epoch < 0:
            _say_once("MixTransform: draws are fresh and not reproducible until set_epoch(epoch) is called")
        made = self.samples(batch, None if epoch < 0 else [epoch] * len(next(iter(batch.values()))))
        pixel_values = framing.stacked([sample.pixels for sample in made])
        if self.normalisation is not None:
            pixel_values = framing.normalised(pixel_values, self.normalisation)
        return {"pixel_values": pixel_values.contiguous(), "label": [sample.label for sample in made]}

    def samples(self, batch: Mapping[str, Sequence[Any]], epochs: Sequence[int] | None) -> list[Sample]:
        """The samples of some rows, before normalisation.

        Args:
            batch: columns; images undecoded (or PIL), `mixed` where the view has it.
            epochs: of each row; None: fresh draws from torch's global generator.
        """
        names = name_columns(batch, self._manifest, **self._given)
        mixes = MIXED in batch or self.probability > 0
        has_own = mixes and self.partner == "own"
        require(batch, names, ["image", "label", "generated"] if has_own else ["image", "label"], "the batch")
        real, labels = batch[names.image], batch[names.label]
        ids = batch[names.row_id] if names.row_id in batch else [_content_id(cell) for cell in real]
        # Config `generated` tells copies apart; a column of that name of somebody else's means something else.
        copies = batch["copy"] if "copy" in batch and names.row_id in batch else [0] * len(labels)
        told = [bool(flag) for flag in batch[MIXED]] if MIXED in batch else [None] * len(labels)
        draws = [
            self.draw(row_id, copy, flag, label, None if epochs is None else epochs[row])
            for row, (row_id, copy, flag, label) in enumerate(zip(ids, copies, told, labels, strict=True))
        ]
        own = batch[names.generated] if has_own else [None] * len(labels)
        found = iter(self._pool.cells([draw.place for draw in draws if draw.place is not None]) if self._pool else ())
        partners = [
            cell if self._pool is None else None if draw.place is None else next(found)
            for draw, cell in zip(draws, own, strict=True)
        ]
        return [
            self.sample(Stored(real[row], partners[row], self.protocol), draw, partners[row] is not None, labels[row])
            for row, draw in enumerate(draws)
        ]

    def draw(self, row_id: str, copy: int, told: bool | None, label: Any, epoch: int | None) -> RowDraw:
        """Whether a row is mixed and with whom, before anything is decoded.

        Args:
            row_id: of the row.
            copy: of the row, in config `generated`; else 0.
            told: column `mixed`; None: by `probability`.
            label: class of the row, in which the pool looks.
            epoch: None: fresh draws from torch's global generator.
        """
        if epoch is None:
            stream = np.random.default_rng(int(torch.randint(2**62, ())))
        else:
            stream = seeding.generator("sample", self.seed, int(epoch), row_id, int(copy), told)
        chance = stream.random()
        mixed = told if told is not None else chance < self.probability
        place = self._pool.draw(stream, label, row_id) if mixed and self._pool else None
        return RowDraw(row_id, stream, mixed, place)

    def sample(self, pair: Pair, draw: RowDraw, has_partner: bool, label: Any) -> Sample:
        """One training image; black and ignored where an image of it cannot be read.

        Raises:
            UserError: the row has no real image at all.
        """
        try:
            label = IGNORED if label is None or label == -1 else label
            return self._made(pair, draw.mixed and has_partner, label, draw.stream)
        except images.UnreadableImage as error:
            if str(error) == "no image":
                raise UserError(
                    f"row {draw.row_id} has no real image. If the originals were left out, put them back with "
                    "join_originals; else leave such rows out: filter by status"
                ) from None
            _say_once(f"row {draw.row_id} cannot be read and is ignored: {error}")
            size = self.protocol.size
            return Sample(torch.zeros(3, size, size, dtype=torch.uint8), IGNORED)

    def _made(self, pair: Pair, mixed: bool, label: Any, stream: np.random.Generator) -> Sample:
        """Draw, decode what the draw needs, frame, mix, crop, augment."""
        draw = draw_mix(stream, pi=self.pi, alpha=self.alpha, kind="both" if self.kind == "none" else self.kind)
        protocol, seconds, share = self.protocol, 0.0, 1.0
        if not mixed:
            frame, draw = pair.real(), None
        elif self.kind == "none":
            frame, draw, share = pair.alone(), None, 0.0
        else:
            frame = pair.real()
        height, width = frame.shape[-2:]
        crop = framing.draw_crop(stream, protocol, height, width)
        if draw is None:
            image = framing.cropped(frame, crop, protocol)
        else:
            began = time.perf_counter()
            if protocol.resize is None:
                # The crop comes first and both are read through it: mixing happens at the training size.
                through = framing.cropped_through(pair.generated(), crop, protocol, height, width)
                image = apply_mix(framing.cropped(frame, crop, protocol), through, draw)
                share = real_share(draw, *image.shape[-2:])
            else:
                # Both are cut before they are mixed; the box stays where it is in the frame.
                other = framing.cropped(pair.covering(height, width), crop, protocol)
                frame = framing.cropped(frame, crop, protocol)
                image = apply_mix(frame, other, draw, (height, width), (crop.top, crop.left))
                share = real_share(draw, height, width)
            seconds = time.perf_counter() - began
        image = framing.flipped(image, crop)
        if self._classical is not None:
            # torchvision draws from torch's global generator: lend it this sample's stream, then give it back.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(int(stream.integers(2**62)))
                image = self._classical(image)
        return Sample(image, label, draw, share, seconds)


def _content_id(cell: Any) -> str:
    """What stands for a row without an id: the hash of its image."""
    content = images.read_bytes(cell) if cell is None or isinstance(cell, Mapping) else cell.tobytes()
    return images.sha256(content)[:16]


_said: set[str] = set()


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        log.warning(line)

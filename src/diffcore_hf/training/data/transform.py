"""MixTransform: computes training images from rows of an augmented dataset, mixed when they are read (Eq. 6 to 8).

Owns the arguments of MixTransform, and the draw of the random numbers and the partner of each row. It is called by
`Dataset.with_transform`, by `map` on a stream and by the loader of this package. row_mixer.py computes one sample.
pool.py indexes the partners.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from diffcore_hf.config.train import TransformConfig
from diffcore_hf.core import images, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.image_files import NO_FILES, ImageFiles
from diffcore_hf.core.image_roots import files_of
from diffcore_hf.core.schema import TARGET_COLUMNS
from diffcore_hf.training.data import framing
from diffcore_hf.training.data.columns import MIXED, Columns, name_columns, read_manifest, require_columns
from diffcore_hf.training.data.image_labels import Weights, mixed_label, probabilities, soft_label
from diffcore_hf.training.data.pairs import Pair, StoredPair
from diffcore_hf.training.data.pool import Pool, as_pool
from diffcore_hf.training.data.row_mixer import IGNORED, RowMixer, Sample

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

Partner = Literal["own", "own_copies", "class", "any", "real_same_class"]
Kind = Literal["both", "pixel", "patch", "none"]
BothLabels = tuple[Weights, Weights]
"""Labels of the image of a row and of its second image."""


@dataclass(frozen=True)
class RowDraw:
    """The random choices for a row that are made before anything is decoded."""

    row_id: str
    stream: np.random.Generator
    """Random numbers of the row, from which mix and crop are drawn next."""
    mixed: bool
    pool_index: int | None
    """Index of the partner in the pool; None if there is no partner or no pool."""


class MixTransform:
    """Computes training images from rows, mixed with their generated counterparts (Eq. 6 to 8).

    `mixing_rows(ds).with_transform(MixTransform(224))` is mode `append`: rows whose column `mixed` is true are mixed.
    If there is no such column, each row is mixed with `probability` (mode `replace`). With `probability=0` no row is
    mixed.

    After `set_epoch` a sample depends only on (seed, epoch, row id, copy, mixed or not). It is the same for any number
    of workers, batch size and number of processes. Before `set_epoch`, draws come from torch's global generator and
    differ at every read.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        probability: float = 1.0,
        partner: Partner = "own",
        kind: Kind = "both",
        pi: float = 0.5,
        alpha: float = 1.0,
        pool: Dataset | Pool | None = None,
        seed: int = 0,
        transform: TransformConfig | str = "fgvc_scratch_224",
        normalise: bool | tuple[Sequence[float], Sequence[float]] = True,
        classes: int | None = None,
        data: str | None = None,
        image: str | None = None,
        generated: str | None = None,
        label: str | None = None,
        files: ImageFiles | None = None,
    ):
        """Check and store the settings. Only diffcore.json of `data` and the labels of `pool` are read.

        Args:
            size: side of the training image in pixels; None: the size of `transform`.
            probability: probability that a row is mixed, if the batch has no column `mixed`.
            partner: `own`: the row's counterpart. `own_copies`: any image of the row in the pool. `class`: any image in
                the pool that shows the row's class. `any`: any image in the pool, with its own label.
                `real_same_class`: another row of its class; the pool has the real rows.
            kind: `both` (pixel- or patch-wise at random), `pixel` or `patch`; `none`: the generated image without
                mixing (GenAug).
            pi: probability of pixel-wise mixing, if `kind` is `both`.
            alpha: parameter of lambda ~ Beta(alpha, alpha).
            pool: map-style dataset from which partners other than `own` are drawn.
            seed: seed of all draws.
            transform: name of a preset, or a `TransformConfig` with classical augmentation.
            normalise: True: return float32, normalised by the preset. A pair of mean and standard deviation: normalise
                by these values. False: return uint8.
            classes: number of classes K. Labels are then probabilities, (B, K) float32, and the row of an unreadable
                image is zero. It is needed if the data has drawn classes (column target_label), or if partner is `any`.
            data: folder or Hub id whose diffcore.json names the columns; arguments below override it.
            image: column of the real images; default `image`.
            generated: column of the generated images; default `generated`.
            label: column of the labels; default `label`.
            files: the files that an image cell may name. None: the files in the folder or the Hub cache of `data`. If
                `data` is also None, only images that are stored in the cells are read.

        Raises:
            UserError: a value is outside its range, the preset does not exist, or the partner needs a pool.
        """
        _check_arguments(partner, kind, probability, pi, alpha)
        config = TransformConfig(preset=transform) if isinstance(transform, str) else transform
        if size is not None:
            config = replace(config, size=size)
        self._mixer = RowMixer(config, kind=kind, pi=pi, alpha=alpha)
        self._normalisation = _normalisation(normalise, self.protocol)
        self._kind = kind
        self._probability, self._partner, self._seed, self._classes = probability, partner, seed, classes
        self._given_names = {"image": image, "generated": generated, "label": label}
        self._manifest = read_manifest(data) if data else None
        self._files = _files(data) if files is None else files
        self._pool = None if partner == "own" else as_pool(pool, partner, self._names(()))
        # The epoch is in shared memory, so that loader workers that already run get a new value.
        self._epoch = torch.full((1,), -1, dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo: dict[int, Any]) -> MixTransform:
        """Return the object itself, not a copy.

        `Dataset.with_transform` stores a deep copy of the transform. `set_epoch` of the caller's object must also
        change that copy. Only the epoch ever changes, so both can be the same object.
        """
        return self

    @property
    def protocol(self) -> framing.Protocol:
        """Protocol of the preset, scaled to the size of the training image."""
        return self._mixer.protocol

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, so that samples depend only on (seed, epoch, row); call it before each epoch.

        Workers that already run also use the new epoch.
        """
        self._epoch[0] = epoch

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Transform a batch of columns, for `with_transform` and `map(batched=True)`.

        Returns:
            `pixel_values`, (B, 3, size, size) float32, or uint8 if `normalise` is false, and `label`, a list of B
            values, or (B, K) float32 if `classes` is given. If an image cannot be read, its sample is black and a
            warning is logged. The label is then -100, which cross_entropy ignores.

        Raises:
            UserError: a label may have several classes, but the number of classes is not known.
        """
        epoch = int(self._epoch[0])
        if epoch < 0:
            _warn_once("MixTransform: random draws are not reproducible until set_epoch(epoch) is called")
        self._check_classes(batch)
        count = len(next(iter(batch.values())))
        samples = self.samples(batch, None if epoch < 0 else [epoch] * count)
        pixel_values = framing.stacked([sample.pixels for sample in samples])
        if self._normalisation is not None:
            pixel_values = framing.normalised(pixel_values, self._normalisation)
        return {"pixel_values": pixel_values.contiguous(), "label": self._labels(samples)}

    def _check_classes(self, batch: Mapping[str, Sequence[Any]]) -> None:
        """Raise UserError if a label may have several classes, but the number of classes is not known."""
        if self._classes is not None:
            return
        names, known = self._names(batch), None if self._pool is None else self._pool.labels
        has_targets = all(names.prefix + name in batch for name in TARGET_COLUMNS)
        several = has_targets and (names.generated not in batch or self._reads_own(batch))
        if self._pool is not None and known is not None:
            several |= bool(known.weights.any()) or (self._pool.partner == "any" and self._kind != "none")
        if several:
            raise UserError(
                "a label may have several classes here, because generated images show drawn classes (column "
                "target_label) or images of different classes are mixed. Give MixTransform(classes=N) for N classes: "
                "labels are then probabilities"
            )

    def _reads_own(self, batch: Mapping[str, Sequence[Any]]) -> bool:
        """Return whether rows are mixed with their own counterparts."""
        return self._partner == "own" and (MIXED in batch or self._probability > 0)

    def _labels(self, samples: Sequence[Sample]) -> list[Any] | Tensor:
        """Return the label of each sample: probabilities if the number of classes is known, otherwise values.

        Raises:
            UserError: a label is not the index of a class.
        """
        if self._classes is None:
            # If each label has one class, only partner `any` can give a sample another class than that of its row.
            return [
                sample.weights[0][0] if sample.share == 0 and sample.weights else sample.label for sample in samples
            ]
        try:
            weights = [sample.weights or ((sample.label, 1.0),) for sample in samples]
            readable = [() if sample.label == IGNORED else each for each, sample in zip(weights, samples, strict=True)]
            return probabilities(readable, self._classes)
        except (IndexError, TypeError) as error:
            raise UserError(
                f"classes is {self._classes}, but a label is not a class index below it. Use a column of type "
                "ClassLabel and its number of classes"
            ) from error

    def samples(self, batch: Mapping[str, Sequence[Any]], epochs: Sequence[int] | None) -> list[Sample]:
        """Compute the samples of a batch of columns, before normalisation.

        Args:
            batch: values by column; images are undecoded or PIL images. `mixed` is optional.
            epochs: epoch of each row; None: draw from torch's global generator.
        """
        names = self._names(batch)
        reads_own = self._reads_own(batch)
        require_columns(batch, names, ("image", "label", "generated") if reads_own else ("image", "label"), "the batch")
        real, labels = batch[names.image], batch[names.label]
        has_ids = names.row_id in batch
        row_ids = batch[names.row_id] if has_ids else [_content_id(cell, self._files) for cell in real]
        # In the configuration `generated`, column `copy` is the number of the copy. In a dataset without row ids, a
        # column of this name can have another meaning.
        copies = batch["copy"] if has_ids and "copy" in batch else [0] * len(labels)
        flags = [bool(flag) for flag in batch[MIXED]] if MIXED in batch else [None] * len(labels)
        draws = [
            self.draw(row_ids[row], copies[row], flags[row], labels[row], None if epochs is None else epochs[row])
            for row in range(len(labels))
        ]
        if self._pool is not None:
            partners = partner_cells(self._pool, draws)
        else:
            partners = list(batch[names.generated]) if reads_own else [None] * len(labels)
        both_labels = self._both_labels(batch, names, draws, reads_own)
        return [
            self.sample(
                StoredPair(real[row], partners[row], self.protocol, self._files),
                draw,
                partners[row] is not None,
                labels[row],
                both_labels[row],
            )
            for row, draw in enumerate(draws)
        ]

    def _both_labels(
        self, batch: Mapping[str, Sequence[Any]], names: Columns, draws: Sequence[RowDraw], reads_own: bool
    ) -> Sequence[BothLabels | None]:
        """Return the labels of both images of each row; None for each row if every label is the class of its row."""
        labels = batch[names.label]
        columns = [names.prefix + name for name in TARGET_COLUMNS]
        has_targets, pool_has_labels = all(name in batch for name in columns), bool(self._pool and self._pool.labels)
        if not has_targets and not pool_has_labels:
            return [None] * len(labels)
        hard = [soft_label(label, None, None) for label in labels]
        of_images = hard
        if has_targets:
            of_images = list(map(soft_label, labels, *(batch[name] for name in columns)))
        rows = of_images if names.generated not in batch else hard
        if self._pool is None:
            second = of_images if reads_own else hard
        else:
            known, indices = self._pool.labels, [draw.pool_index for draw in draws]
            second = [
                label if known is None or index is None else known[index]
                for label, index in zip(hard, indices, strict=True)
            ]
        return list(zip(rows, second, strict=True))

    def draw(self, row_id: str, copy: int, flag: bool | None, label: Any, epoch: int | None) -> RowDraw:
        """Draw whether a row is mixed and with which partner, before anything is decoded.

        Args:
            row_id: row id of the row.
            copy: number of the copy in the configuration `generated`, otherwise 0.
            flag: value of column `mixed`; None: drawn with `probability`.
            label: class of the row, from which the partner is drawn.
            epoch: epoch of the sample; None: draw from torch's global generator.
        """
        if epoch is None:
            stream = np.random.default_rng(int(torch.randint(2**62, ())))
        else:
            stream = seeding.generator("sample", self._seed, int(epoch), row_id, int(copy), flag)
        chance = stream.random()
        mixed = chance < self._probability if flag is None else flag
        pool_index = self._pool.draw(stream, label, row_id) if mixed and self._pool else None
        return RowDraw(row_id, stream, mixed, pool_index)

    def sample(
        self,
        pair: Pair,
        draw: RowDraw,
        has_partner: bool,
        label: Any,
        both_labels: BothLabels | None = None,
        *,
        with_pair: bool = False,
    ) -> Sample:
        """Compute one training image. If an image cannot be read, the sample is black and the loss ignores it.

        Args:
            pair: the two images of the row.
            draw: random choices for the row.
            has_partner: whether there is a second image.
            label: label of the row.
            both_labels: labels of the two images; None: both have the label of the row.
            with_pair: also return the second image if the sample is not mixed.

        Raises:
            UserError: the row has no real image.
        """
        if label is None or label == -1:
            label = IGNORED
        try:
            mixed = draw.mixed and has_partner
            sample = self._mixer.sample(pair, mixed, label, draw.stream, with_pair=with_pair and has_partner)
            if both_labels is None or label == IGNORED:
                return sample
            return replace(sample, weights=mixed_label(*both_labels, sample.share))
        except images.UnreadableImage as error:
            if str(error) == "no image":
                raise UserError(
                    f"row {draw.row_id} has no real image. If the originals were left out, put them back with "
                    "join_originals. Otherwise remove such rows: filter by column status"
                ) from None
            _warn_once(f"row {draw.row_id} cannot be read and is ignored: {error}")
            size = self.protocol.size
            return Sample(torch.zeros(3, size, size, dtype=torch.uint8), IGNORED)

    def _names(self, columns: Mapping[str, Any] | tuple[()]) -> Columns:
        return name_columns(columns, self._manifest, **self._given_names)


def partner_cells(pool: Pool, draws: Sequence[RowDraw]) -> list[dict[str, Any] | None]:
    """Read the partners of all draws from the pool in one read; None for a draw without a partner."""
    cells = iter(pool.cells([draw.pool_index for draw in draws if draw.pool_index is not None]))
    return [None if draw.pool_index is None else next(cells) for draw in draws]


def _check_arguments(partner: str, kind: str, probability: float, pi: float, alpha: float) -> None:
    """Check the ranges of the arguments.

    Raises:
        UserError: a value is outside its range; the message names the first one.
    """
    for name, choice, choices in (("partner", partner, get_args(Partner)), ("kind", kind, get_args(Kind))):
        if choice not in choices:
            raise UserError(f"{name} is {choice!r}, not one of {', '.join(choices)}")
    for name, value in (("probability", probability), ("pi", pi)):
        if not 0 <= value <= 1:
            raise UserError(f"{name} is {value!r}, not a number in [0, 1]")
    if not alpha > 0:
        raise UserError(f"alpha is {alpha!r}, not a number above 0. Use e.g. 1.0")


def _normalisation(
    normalise: bool | tuple[Sequence[float], Sequence[float]], protocol: framing.Protocol
) -> framing.Normalisation | None:
    if isinstance(normalise, bool):
        return protocol.normalisation if normalise else None
    mean, std = normalise
    return tuple(mean), tuple(std)


def _files(data: str | None) -> ImageFiles:
    """Return the files that belong to a dataset on disk or on the Hub. If `data` is None, there are none."""
    if data is None:
        return NO_FILES
    return files_of(data, None if Path(data).is_dir() else "main")


def _content_id(cell: Any, files: ImageFiles) -> str:
    """Return an id for a row that has no row id: the first 16 digits of the hash of its image."""
    if cell is not None and not isinstance(cell, Mapping):
        return images.sha256(cell.tobytes())[:16]
    try:
        return images.sha256(images.read_bytes(cell, files))[:16]
    except images.UnreadableImage as error:  # the sample will be black, whatever its random numbers are
        return images.sha256(str(error).encode())[:16]


_logged: set[str] = set()


def _warn_once(line: str) -> None:
    if line not in _logged:
        _logged.add(line)
        log.warning(line)

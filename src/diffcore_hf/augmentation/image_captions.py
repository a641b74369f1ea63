"""Image captions: facts about real images, in parts of kind `captions`. The contexts of a run are made from them once.

Owns which real images are described, the parts with their captions, and the record of the contexts in run.json. The
first run makes the contexts. The folder keeps them, even if its source changes later. Does not own the rule that
removes the words of the classes (method/caption_contexts.py) or the model (models/captioner.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from diffcore_hf.augmentation.part_files import IMAGE_CAPTIONS
from diffcore_hf.augmentation.source.readable import readable_rows
from diffcore_hf.augmentation.unit_images import source_images
from diffcore_hf.config.context_lists import CAPTIONS
from diffcore_hf.core import images, seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.locks import locked
from diffcore_hf.method.caption_contexts import contexts_from_captions

if TYPE_CHECKING:
    from diffcore_hf.augmentation.run import Run
    from diffcore_hf.config.augment import CaptionerConfig, Recipe
    from diffcore_hf.models.captioner import Captioner

log = logging.getLogger(__name__)

PART = 16
"""Number of images of a part. An interruption loses at most the captions of one part."""
STILL_SECONDS = 600.0
"""A process that makes captions counts as dead if it writes no part for this time in seconds."""
COLUMNS = pa.schema([("row_id", pa.string()), ("inputs", pa.string()), ("caption", pa.string())])
"""Columns of a part. `caption` is null if the image cannot be decoded. `inputs` is a digest of image and captioner."""


def captions_are_due(run: Run) -> bool:
    """Return whether the contexts of a run come from captions and are not made yet."""
    return _lacks_contexts(run.recipe)


def require_contexts(recipe: Recipe) -> None:
    """Raise UserError if contexts come from captions, which only a run with an output folder makes."""
    if _lacks_contexts(recipe):
        raise UserError(
            f"prompts.contexts_from is {CAPTIONS}, and only augment makes captions. Use contexts of your own: "
            "prompts.contexts"
        )


def _lacks_contexts(recipe: Recipe) -> bool:
    return recipe.prompts.contexts_from == CAPTIONS and recipe.prompts.contexts is None


def make_contexts(run: Run) -> None:
    """Describe the real images that have no caption yet, and record the contexts in run.json. This file must exist.

    If several processes start a run at the same time, one of them makes the captions and the others wait for it. The
    system releases the lock of a process that dies. If a process stands still, the others continue without it.

    Raises:
        UserError: the captioner cannot be used, or no caption has a context.
    """
    config = run.recipe.prompts.captioner
    if config is None:
        raise TypeError("a recipe with contexts from captions has a captioner")
    with locked(run.folder.private / "captions.lock", _writes_parts(run)):
        if _run_content(run)["resolved"]["prompts"]["contexts"] is None:
            _make_contexts(run, config)


def _make_contexts(run: Run, config: CaptionerConfig) -> None:
    from diffcore_hf.models.captioner import Captioner

    wanted, known = _wanted(run, config), dict(_facts(run))
    missing = [(row_id, inputs, row) for row_id, (inputs, row) in wanted.items() if (row_id, inputs) not in known]
    captioner = Captioner(config, device=run.recipe.model.device)
    for start in range(0, len(missing), PART):
        part = missing[start : start + PART]
        described = [_caption(run, captioner, row) for _, _, row in part]
        columns = [[row_id for row_id, _, _ in part], [inputs for _, inputs, _ in part], described]
        run.ledger.write(IMAGE_CAPTIONS, pa.table(columns, schema=COLUMNS))
        log.info("%d of %d real images are described", start + len(part), len(missing))
    known = dict(_facts(run))
    labels, texts = run.source.labels[run.source.config.split], run.plan.prompt_texts
    captions = [(known.get((row_id, inputs)) or "", int(labels[row])) for row_id, (inputs, row) in wanted.items()]
    contexts = contexts_from_captions(captions, texts.names, texts.noun)
    if not contexts:
        raise UserError(
            f"the {len(captions):,} captions by {config.path} have no context, because they describe only the object. "
            "Use another prompts.captioner and --output, or contexts of your own (prompts.contexts)"
        )
    _record(run, contexts)


def _writes_parts(run: Run) -> Callable[[], bool]:
    """Return a function that returns whether another process has written captions in the last STILL_SECONDS."""
    seen, since = set(run.ledger.parts(IMAGE_CAPTIONS)), time.monotonic()

    def writes() -> bool:
        nonlocal seen, since
        if (parts := set(run.ledger.parts(IMAGE_CAPTIONS))) != seen:
            seen, since = parts, time.monotonic()
        return time.monotonic() - since < STILL_SECONDS

    return writes


def _wanted(run: Run, config: CaptionerConfig) -> Mapping[str, tuple[str, int]]:
    """Return row id -> (digest of the inputs, row) of the images to describe: the first references in drawing order."""
    identity = run.resolution.identities["weights"]["captioner"]
    hashes, readable = run.source.sha256[run.source.config.split], readable_rows(run.source)
    rows = [row for row in run.plan.references.tolist() if readable[row]][: config.images]
    return {
        run.plan.source_ids[row]: (seeding.digest("caption", identity, config.tokens, hashes[row]).hex()[:32], row)
        for row in rows
    }


def _facts(run: Run) -> Iterator[tuple[tuple[str, str], str | None]]:
    """Yield the captions in the ledger: row id and digest of the inputs, and the caption."""
    for path in run.ledger.parts(IMAGE_CAPTIONS):
        table = run.ledger.facts(IMAGE_CAPTIONS, path)
        if table is None:
            continue
        for row_id, inputs, caption in zip(*(table[name].to_pylist() for name in COLUMNS.names), strict=True):
            yield (row_id, inputs), caption


def _caption(run: Run, captioner: Captioner, row: int) -> str | None:
    """Return the caption of the image of a row; None if the image cannot be decoded."""
    [cell] = source_images(run.source, [row]).to_pylist()
    try:
        image = images.decode(cell, run.source.files)
    except images.UnreadableImage:
        return None
    return captioner.caption(image)


def _run_content(run: Run) -> dict[str, Any]:
    """Return the content of run.json as it is now."""
    content = run.folder.read_run()
    if content is None:
        raise ValueError("run.json is written before the contexts are made")
    return content


def _record(run: Run, contexts: list[str]) -> None:
    """Write the contexts to run.json. If another process wrote contexts before, those are kept."""
    content = _run_content(run)
    prompts = content["resolved"]["prompts"]
    if prompts["contexts"] is None:
        prompts["contexts"] = contexts
        run.folder.write_run(content)

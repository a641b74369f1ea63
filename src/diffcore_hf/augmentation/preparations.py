"""Preparations that a run keeps, such as learned tokens.

Some strategies keep the first finished preparation of a folder, even if the references change later.

Owns the entry of a preparation in run.json and the remarks about it. Does not own its files (ledger.py), its digest
(inputs.py) or its content (generation/).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.augmentation.source.readable import readable_rows
from diffcore_hf.core.folder import Folder

if TYPE_CHECKING:
    from diffcore_hf.augmentation.run import Run

KEY = "preparation"
"""Key of run.json."""


@dataclass(frozen=True)
class Preparation:
    """A preparation as run.json records it."""

    digest: str
    """Name of its folder."""
    words: Mapping[str, str]
    """Name of each class -> the word with which prompts name it."""


def started_preparation(run: Mapping[str, Any] | None) -> Preparation | None:
    """Return the preparation in the content of run.json; None if the strategy keeps none."""
    entry = (run or {}).get(KEY)
    return None if entry is None else Preparation(entry["digest"], entry["words"])


def finished_preparation(run: Mapping[str, Any] | None, folder: Folder, *, repairs: bool = False) -> Preparation | None:
    """Return the preparation in the content of run.json if an earlier run has finished it; None if there is none.

    Args:
        run: content of run.json; None in a new folder.
        folder: the output folder.
        repairs: whether a damaged preparation is renamed. The folder then has no preparation.

    Raises:
        DamagedPreparation: the preparation is damaged, and `repairs` is false.
    """
    started, ledger = started_preparation(run), Ledger(folder.parts, repairs=repairs)
    return started if started is not None and ledger.is_prepared(ledger.preparation(started.digest)) else None


def digest_of(preparation: Preparation | None) -> str | None:
    """Return the digest of a preparation; None if there is no preparation."""
    return None if preparation is None else preparation.digest


def words_in(preparation: Preparation | None) -> Mapping[str, str] | None:
    """Return the words of a preparation; None if there is no preparation."""
    return None if preparation is None else preparation.words


def recorded(run: Run) -> dict[str, Any]:
    """Return the entry of run.json about the preparation that this run keeps; {} if its strategy keeps none."""
    from diffcore_hf.generation.base import strategy_class, words_of

    digest = run.inputs.preparation
    if digest is None or not strategy_class(run.recipe.strategy.name).keeps_preparation:
        return {}
    kept = run.preparation or Preparation(digest, words_of(run.recipe.strategy, run.source.names))
    return {KEY: asdict(kept)}


def check_words(run: Run) -> None:
    """Check the words that prompts use for the classes, and that each generated class has enough references.

    If the run keeps a finished preparation, nothing is checked.

    Raises:
        UserError: see `Strategy.check_words`.
    """
    from diffcore_hf.generation.base import make_strategy, words_of

    if run.preparation is not None or not (words := words_of(run.recipe.strategy, run.source.names)):
        return
    plan, names = run.plan, run.source.names
    labels = run.source.labels[run.source.config.split]
    counts = Counter(labels[plan.references[readable_rows(run.source)[plan.references]]].tolist())
    references = {names[label]: counts[label] for label in sorted(set(plan.shown.tolist()))}
    make_strategy(run.recipe.strategy, run.recipe.model, strict=run.recipe.strict).check_words(words, references)


def notes(run: Run) -> list[str]:
    """Return remarks on a preparation that the run keeps, one line each; [] if nothing changed since it was made."""
    if run.preparation is None:
        return []
    lines = []
    name = run.recipe.strategy.name
    if run.inputs.new_preparation != run.preparation.digest:
        lines.append(
            f"the references changed, but strategy {name} keeps what it prepared in the first run. Another --output "
            "prepares it again"
        )
    shown = sorted({run.source.names[label] for label in run.plan.shown.tolist()} - set(run.preparation.words))
    if run.preparation.words and shown:
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        lines.append(
            f"strategy {name} was prepared without {', '.join(map(repr, shown[:3]))}{more}: prompts use the name of "
            "the class"
        )
    return lines

"""Measures which changes of a published dataset `verify` finds.

To print the tables:           python -m benchmarks.verifying out/miniature
To write them into the docs:   python -m benchmarks.verifying out/miniature --write docs/verify.md
To make a short measurement:   python -m benchmarks.verifying out/miniature --flips 20 --operations 20

Each trial changes a copy of the dataset once. A flipped bit is in a random byte of a random published file. A row
operation deletes, duplicates, swaps or edits random rows of each configuration. Each operation is tried twice: without
further changes (`as published`), and with names, hashes, manifest and card that are made consistent with the changed
table (`sealed anew`). A sealed dataset has no valid signature.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice, product
from pathlib import Path

from benchmarks.report import paragraphs, settings, table, write_section
from benchmarks.tampering import OPERATIONS, Change, change_rows, flip_bit, published_files, seal
from diffcore_hf.core.schema import CONFIGS
from diffcore_hf.workflows.verify import verified

TITLE = "What verify finds"
PACKAGES = ("datasets", "pyarrow")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="folder of a finished run or export")
    parser.add_argument("--flips", type=int, default=500, help="number of flipped bits")
    parser.add_argument("--operations", type=int, default=200, help="number of row operations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="Markdown page that gets the tables")
    return parser


class Copy:
    """A copy of the published files of a dataset, which is restored after each trial."""

    def __init__(self, dataset: Path, folder: Path) -> None:
        self.original, self.folder = dataset, folder
        self._files = {path.relative_to(dataset) for path in published_files(dataset)}
        for name in self._files:
            self._restore(name)

    def _restore(self, name: Path) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.original / name, self.folder / name)

    @contextmanager
    def trial(self) -> Iterator[Path]:
        """Yields the folder, and restores the files afterwards."""
        try:
            yield self.folder
        finally:
            for path in published_files(self.folder):
                if path.relative_to(self.folder) not in self._files:
                    path.unlink()
            for name in self._files:
                own, other = self.folder / name, self.original / name
                changed = not own.is_file() or own.stat().st_mtime_ns != other.stat().st_mtime_ns
                if changed or own.stat().st_size != other.stat().st_size:
                    self._restore(name)


def outcome(folder: Path) -> str:
    """Returns `fault`, `note` or `nothing`: the most severe kind of line that `verify` prints about a folder.

    An error with one line, such as for a file that cannot be read, counts as a fault.
    """
    try:
        result = verified(str(folder))
    except ValueError:
        return "fault"
    if result.faults:
        return "fault"
    return "note" if result.notes else "nothing"


def flips(copy: Copy, count: int, draw: random.Random) -> Counter[tuple[str, str]]:
    """Returns the number of flipped bits by file and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    files = [path.relative_to(copy.folder) for path in published_files(copy.folder)]
    for _ in range(count):
        name = draw.choice(files)
        with copy.trial() as folder:
            flip_bit(folder / name, draw.randrange(8 * (folder / name).stat().st_size))
            found[name.parts[0], outcome(folder)] += 1
    return found


def operations(copy: Copy, count: int, draw: random.Random, after: Callable[[Path], None]) -> list[tuple[Change, str]]:
    """Returns row operations, spread evenly over configurations and kinds, with their outcomes.

    Args:
        copy: the dataset.
        count: number of operations.
        draw: source of random numbers.
        after: function that is called with the changed folder before it is verified.
    """
    found = []
    for config, operation in islice(cycle(product(CONFIGS, OPERATIONS)), count):
        with copy.trial() as folder:
            change = change_rows(folder, config, operation, draw)
            if change is None:
                continue
            after(folder)
            found.append((change, outcome(folder)))
    return found


def report(
    flipped: Counter[tuple[str, str]], published: list[tuple[Change, str]], sealed: list[tuple[Change, str]]
) -> list[str]:
    """Returns the paragraphs and tables."""
    rows = [_row("flipped bits", Counter(outcome for _, outcome in flipped.elements()))]
    for name, changes in (("as published", published), ("sealed anew", sealed)):
        for operation in OPERATIONS:
            counts = Counter(outcome for change, outcome in changes if change.operation == operation)
            rows.append(_row(f"{operation}, {name}", counts))
    missed = Counter(change.kind for change, outcome in sealed if outcome == "nothing")
    tried = Counter(change.kind for change, _ in sealed)
    lines = [[f"`{kind}`", f"{count} of {tried[kind]}"] for kind, count in sorted(missed.items())]
    return [
        "The table shows how many changes `verify` reports as faults, or as notes about edited text of the card. "
        "*Flipped bits* changes one bit of a file. *Delete*, *duplicate*, *swap* and *edit* change rows of a table. "
        "*As published* means that only the table was changed. *Sealed anew* means that names, hashes, manifest and "
        "card were then made consistent with the changed table, as a forger would do. A dataset that was sealed anew "
        "has no valid signature, so `verify --signer` reports all of them.",
        table(["change", "tried", "fault", "note", "not found"], rows),
        "These changes of a dataset that was sealed anew were not found. No other published value follows from them:"
        if lines
        else "Every change of a dataset that was sealed anew was found.",
        *([table(["column or operation", "not found"], lines)] if lines else []),
    ]


def _row(name: str, counts: Counter[str]) -> list[str]:
    return [name, *(str(number) for number in (counts.total(), counts["fault"], counts["note"], counts["nothing"]))]


def main() -> None:
    """Runs the measurement."""
    options = make_parser().parse_args()
    with tempfile.TemporaryDirectory() as place:
        copy = Copy(options.dataset, Path(place))
        flipped = flips(copy, options.flips, random.Random(options.seed))
        published = operations(copy, options.operations, random.Random(options.seed), lambda folder: None)
        sealed = operations(copy, options.operations, random.Random(options.seed), seal)
    text = paragraphs(*report(flipped, published, sealed), settings("verifying out/miniature", PACKAGES))
    print(text)
    if options.write:
        write_section(options.write, TITLE, text)


if __name__ == "__main__":
    main()

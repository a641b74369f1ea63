"""Measure the evidence, cell by cell, and write docs/results.md.

All of it, hours:        python -m benchmarks.evidence
What it would measure:   python -m benchmarks.evidence --list
The page alone:          python -m benchmarks.evidence --page
Again, beside the old:   python -m benchmarks.evidence --facts out/evidence/again --write out/evidence/results.md

A cell is one measurement; its result is a small file in docs/evidence, and what has one is not measured again. Delete
the file to have it measured anew. Stop it at any time; the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from benchmarks.evidence import folders, judging, page, probing, towers, trainings
from benchmarks.evidence.cells import FACTS, SEEDS, Cell, listing, run
from benchmarks.evidence.series import Facts
from benchmarks.report import numbers


def cells(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    """Every cell: those behind the first claims with every seed, then the others seed by seed."""
    made = [Cell("clip-seen", towers.SECONDS, towers.measure)]
    first = {arm.generator for arm in map(trainings.ARMS.get, trainings.FIRST) if arm.generator}
    for seed in seeds:
        made += [*_folders(seed, sorted(first)), *_trainings(seed, trainings.FIRST)]
    for seed in seeds:
        made += _folders(seed, [name for name in folders.GENERATORS if name not in first])
        made += _trainings(seed, [name for name in trainings.ARMS if name not in trainings.FIRST])
        made += [
            Cell(f"judge/{clip}-{kind}-{seed}", judging.SECONDS,
                 partial(judging.measure, clip=clip, contexts=kind, seed=seed))
            for clip in judging.TOWERS
            for kind in ("own", "shared")
        ]  # fmt: skip
        made.append(Cell(f"probes/probe-{seed}", probing.SECONDS, partial(probing.measure, seed=seed)))
    return made


def _folders(seed: int, names: Iterable[str]) -> list[Cell]:
    return [
        Cell(f"folders/{name}-{seed}", folders.SECONDS, partial(folders.measure, name=name, seed=seed))
        for name in names
    ]


def _trainings(seed: int, arms: Iterable[str]) -> list[Cell]:
    return [
        Cell(f"trainings/{arm}-{net}-{seed}", trainings.SECONDS[net],
             partial(trainings.measure, name=arm, net=net, seed=seed))
        for arm in arms
        for net in trainings.nets(arm)
    ]  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every cell with its time, and measure nothing")
    parser.add_argument(
        "--page", action="store_true", help="write the page from what was measured, and measure nothing"
    )
    parser.add_argument("--only", default="", help="cells whose name begins so: judge, folders, trainings/gamma-2, ...")
    parser.add_argument("--seeds", type=numbers, default=SEEDS, help="of contexts, pictures, generation and training")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each: one a core")
    parser.add_argument("--facts", type=Path, default=FACTS, help="folder of the results of cells")
    parser.add_argument("--write", type=Path, default=FACTS.parent / "results.md", help="the page")
    parser.add_argument("--work", type=Path, default=Path("out/evidence"), help="folder for what is made on the way")
    return parser


def main() -> int:
    """Measure what is not there yet."""
    args = make_parser().parse_args()
    chosen = [cell for cell in cells(args.seeds) if cell.name.startswith(args.only)]
    if not chosen:
        sys.exit(f"--only {args.only} fits no cell. See --list")
    if args.list:
        print(listing(chosen, args.facts, args.workers))
        return 0
    failed = 0
    if not args.page:
        failed = run(chosen, args.facts, args.work.resolve(), args.workers, partial(print, flush=True))
    page.write(Facts.read(args.facts), args.write, args.write.parent / "assets")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

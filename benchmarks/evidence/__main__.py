"""Measure the evidence cell by cell, pack the results, and write docs/results.md.

Measure all of it, hours:      python -m benchmarks.evidence
List the cells:                python -m benchmarks.evidence --list
Pack the new results:          python -m benchmarks.evidence --pack
Write the page:                python -m benchmarks.evidence --page
Measure some cells anew:       python -m benchmarks.evidence --again --only trainings/mixup

A cell is one measurement. Its result is a file of its own in out/evidence/cells until `--pack` moves it into the file
of its series in benchmarks/evidence/results, from which `--page` writes the page. A cell with a result in either place
is not measured again, unless `--again` is given: then only a result in out/evidence/cells counts. The run can be
stopped at any time; the same command continues it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from benchmarks.evidence import folders, judging, page, probing, towers, trainings
from benchmarks.evidence.cells import SEEDS, Cell, listing, pending, run
from benchmarks.evidence.series import Results
from benchmarks.evidence.store import NEW, PACKED, Store
from benchmarks.report import numbers

PAGE = Path(__file__).parents[2] / "docs" / "results.md"


def cells(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    """Returns every cell: first those of the main tables with every seed, then the others seed by seed."""
    chosen = [Cell("towers/clip-seen", towers.SECONDS, towers.measure)]
    first = {arm.generator for arm in map(trainings.ARMS.get, trainings.FIRST) if arm.generator}
    for seed in seeds:
        chosen += [*_folders(seed, sorted(first)), *_trainings(seed, trainings.FIRST)]
    for seed in seeds:
        chosen += _folders(seed, [name for name in folders.GENERATORS if name not in first])
        chosen += _trainings(seed, [name for name in trainings.ARMS if name not in trainings.FIRST])
        chosen += [
            Cell(f"judge/{clip}-{kind}-{seed}", judging.SECONDS,
                 partial(judging.measure, clip=clip, contexts=kind, seed=seed))
            for clip in judging.TOWERS
            for kind in ("own", "shared")
        ]  # fmt: skip
        chosen.append(Cell(f"probes/probe-{seed}", probing.SECONDS, partial(probing.measure, seed=seed)))
    return chosen


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
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every cell with its time; measure nothing")
    parser.add_argument("--pack", action="store_true", help="move new results into the packed files; measure nothing")
    parser.add_argument("--page", action="store_true", help="write the page from the packed files; measure nothing")
    parser.add_argument("--again", action="store_true", help="measure cells whose results are packed anew")
    parser.add_argument("--only", default="", help="cells whose name starts so: judge, folders, trainings/gamma-2, ...")
    parser.add_argument("--seeds", type=numbers, default=SEEDS, help="seeds of contexts, images, generation, training")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each: one a core")
    parser.add_argument("--new", type=Path, default=NEW, help="folder of new results, one file a cell")
    parser.add_argument("--results", type=Path, default=PACKED, help="folder of packed results, one file a series")
    parser.add_argument("--write", type=Path, default=PAGE, help="the page")
    parser.add_argument("--work", type=Path, default=Path("out/evidence"), help="folder of intermediate files")
    return parser


def main() -> int:
    """Measures what has no result yet, or does what an option asks for instead."""
    args = make_parser().parse_args()
    store = Store(args.results.resolve(), args.new.resolve())
    chosen = [cell for cell in cells(args.seeds) if cell.name.startswith(args.only)]
    if not chosen:
        sys.exit(f"--only {args.only} fits no cell. See --list")
    due = pending(chosen, store, again=args.again)
    if args.list:
        print(listing(chosen, due, args.workers))
        return 0
    if args.pack:
        print(f"{store.pack()} results packed")
    if args.page:
        page.write(Results.read(store), args.write, args.write.parent / "assets")
    if args.pack or args.page:
        return 0
    return 1 if run(due, store, args.work.resolve(), args.workers, partial(print, flush=True)) else 0


if __name__ == "__main__":
    sys.exit(main())

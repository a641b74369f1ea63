"""What publishing costs: a small push, a load by tag, and 500 MB against `upload_folder` of as many bytes.

python -m benchmarks.publishing --write docs/performance.md

Against the double of the Hub (testing/hub_double) with the real clients, in pairs that follow one another: over Xet, as
users have it, and over LFS.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.faults import enlarged, folders, steps
from benchmarks.report import paragraphs, settings, spread, table, write_section
from testing.hub_double.client import Client
from testing.hub_double.double import Double

WAYS = {"Xet": True, "LFS": False}


def small_ones(hub: Double, client: Client, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of pushes of a small folder to new repositories, and of loads of them by tag."""
    client(steps.seconds, steps.push, str(folder), hub.repo_id(), "v1.0.0")  # imports
    pushes, loads = [], []
    for _ in range(5):
        repo = hub.repo_id()
        pushes.append(client(steps.seconds, steps.push, str(folder), repo, "v1.0.0"))
        loads.append(client(steps.seconds, steps.load, repo, "v1.0.0"))
    return pushes, loads


def large_pair(
    hub: Double, client: Client, folder: Path, target: Path, numbers: tuple[int, int], megabytes: int
) -> tuple[float, float]:
    """Seconds of a push and of an `upload_folder`: as many bytes each, none of which was ever sent."""
    found = []
    for number, upload in zip(numbers, ("push", "upload_folder"), strict=True):
        hub.reset()
        large = enlarged(folder, target, number, rows=megabytes, row_bytes=1_000_000)
        more = ("v1.0.0",) if upload == "push" else ()
        found.append(client(steps.seconds, getattr(steps, upload), str(large), hub.repo_id(), *more))
        shutil.rmtree(large)
    return found[0], found[1]


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of a push and an upload_folder")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the large folder")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is to be replaced")
    return parser


def main() -> int:
    """Measure, print, and write."""
    args = make_parser().parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as text, Double() as hub:
        place, numbers = Path(text), iter(range(10_000))
        small, _ = folders(place)
        files = len(json.loads((small / "diffcore.json").read_text())["files"])
        for way, xet in WAYS.items():
            with Client(hub, place / f"home-{way}", xet=xet, timeout=600) as client:
                pushes, loads = small_ones(hub, client, small)
                pairs = [
                    large_pair(hub, client, small, place / "large", (next(numbers), next(numbers)), args.megabytes)
                    for _ in range(args.pairs)
                ]
            rows.append(
                [
                    way, *(spread(seconds, "{:.2f} s") for seconds in (pushes, loads)),
                    *(spread(seconds, "{:.1f} s") for seconds in zip(*pairs, strict=True)),
                    spread([ours / theirs for ours, theirs in pairs], "{:.2f}"),
                ]
            )  # fmt: skip
    head = ["over", f"push of a small dataset ({files} files)", "load of it by tag", f"push of {args.megabytes} MB",
            "`upload_folder`", "ratio, in pairs"]  # fmt: skip
    told = paragraphs(
        table(head, rows),
        "Against the double of the Hub, median (range). A push checks every byte of the folder first, commits once, "
        "reads the commit back (sizes, hashes, and rows from the footers) and tags it. Small: a new repository each, "
        f"nothing cached, five times. Large: {args.pairs} pairs, bytes that were never sent. "
        + settings("publishing", ("huggingface_hub", "datasets", "hf-xet")),
    )  # fmt: skip
    print(told)
    if args.write:
        write_section(args.write, "Publishing", told)
    return 0


if __name__ == "__main__":
    sys.exit(main())

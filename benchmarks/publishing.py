"""Measures the publishing of a dataset: a small push, a load by tag, and a push of 500 MB.

To print a table:             python -m benchmarks.publishing
To write it into the docs:    python -m benchmarks.publishing --write docs/performance.md

The large push is compared with an `upload_folder` of the same number of bytes, which runs directly after it. The real
clients send their requests to a local test server in place of the Hub (testing/hub_double). They use Xet, which is the
default of the client, and LFS.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults import enlarged, folders, steps
from benchmarks.report import paragraphs, settings, spread, table, write_section
from testing.hub_double.client import Client
from testing.hub_double.double import Double

USES_XET = {"Xet": True, "LFS": False}
SMALL_RUNS = 5


def small_runs(hub: Double, client: Client, folder: Path) -> tuple[list[float], list[float]]:
    """Return the seconds of pushes of a small folder to new repositories, and the seconds of loading them by tag."""
    client(steps.seconds, steps.push, str(folder), hub.repo_id(), "v1.0.0")  # the first call imports the modules
    pushes, loads = [], []
    for _ in range(SMALL_RUNS):
        repo = hub.repo_id()
        pushes.append(client(steps.seconds, steps.push, str(folder), repo, "v1.0.0"))
        loads.append(client(steps.seconds, steps.load, repo, "v1.0.0"))
    return pushes, loads


def large_pair(
    hub: Double, client: Client, folder: Path, target: Path, seeds: Iterator[int], megabytes: int
) -> tuple[float, float]:
    """Return the seconds of a push and of an `upload_folder`. Both send the same number of new bytes."""
    seconds = []
    for upload, version in ((steps.push, ("v1.0.0",)), (steps.upload_folder, ())):
        hub.reset()
        large = enlarged(folder, target, next(seeds), rows=megabytes, row_bytes=1_000_000)
        seconds.append(client(steps.seconds, upload, str(large), hub.repo_id(), *version))
        shutil.rmtree(large)
    return seconds[0], seconds[1]


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="number of pairs of a push and an upload_folder")
    parser.add_argument("--megabytes", type=int, default=500, help="size of the large folder")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


def main() -> int:
    """Measure, print and write the table."""
    args = make_parser().parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name, Double() as hub:
        directory, seeds = Path(name), iter(range(10_000))
        small, _ = folders(directory)
        files = len(json.loads((small / "diffcore.json").read_text())["files"])
        for protocol, xet in USES_XET.items():
            with Client(hub, directory / f"home-{protocol}", xet=xet, timeout=600) as client:
                pushes, loads = small_runs(hub, client, small)
                pairs = [
                    large_pair(hub, client, small, directory / "large", seeds, args.megabytes)
                    for _ in range(args.pairs)
                ]
            large_pushes, uploads = zip(*pairs, strict=True)
            rows.append(
                [
                    protocol,
                    spread(pushes, "{:.2f} s"),
                    spread(loads, "{:.2f} s"),
                    spread(large_pushes, "{:.1f} s"),
                    spread(uploads, "{:.1f} s"),
                    spread([push / upload for push, upload in pairs], "{:.2f}"),
                ]
            )
    head = [
        "protocol",
        f"`push` of a small dataset ({files} files)",
        "`load_augmented` of the small dataset",
        f"`push` of {args.megabytes} MB",
        f"`upload_folder` of {args.megabytes} MB",
        "`push` / `upload_folder`",
    ]
    text = paragraphs(
        table(head, rows),
        "The times are medians (minimum to maximum), with a local test server in place of the Hub. `push` is compared "
        "with `upload_folder` of huggingface_hub. `push` also hashes every file, reads the commit back, compares it "
        f"with the folder, and sets a tag. The small dataset was pushed {SMALL_RUNS} times, each time to a new "
        f"repository. The large dataset was pushed {args.pairs} times with each of the two functions. "
        + settings("publishing", ("huggingface_hub", "datasets", "hf-xet")),
    )
    print(text)
    if args.write:
        write_section(args.write, "Publishing", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

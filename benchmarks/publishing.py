"""What publishing costs: a small push, a load by tag, and 500 MB against `upload_folder` of the same folder.

python benchmarks/publishing.py --write docs/performance.md

Against the double of the Hub in tests/hub_double, with the real clients over LFS, in pairs that follow one another.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from faults import enlarged, folders, steps
from hub_double.client import Client
from hub_double.double import Double
from report import paragraphs, settings, spread, table, write_section


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
    with tempfile.TemporaryDirectory() as text, Double() as hub:
        place = Path(text)
        client = Client(hub, place / "home", xet=False, timeout=600)
        small, _ = folders(place)
        files = len(json.loads((small / "diffcore.json").read_text())["files"])
        client(steps.seconds, steps.push, str(small), hub.repo_id(), "v1.0.0")  # imports
        pushes, loads, pairs = [], [], []
        for _ in range(5):
            repo = hub.repo_id()
            pushes.append(client(steps.seconds, steps.push, str(small), repo, "v1.0.0"))
            loads.append(client(steps.seconds, steps.load, repo, "v1.0.0"))
        for number in range(args.pairs):
            hub.reset()
            large = enlarged(small, place / "large", number, rows=args.megabytes, row_bytes=1_000_000)
            ours = client(steps.seconds, steps.push, str(large), hub.repo_id(), "v1.0.0")
            hub.reset()  # what is stored would not be sent again
            theirs = client(steps.seconds, steps.upload_folder, str(large), hub.repo_id())
            pairs.append((ours, theirs))
            shutil.rmtree(large)
        client.close()
    rows = [
        [f"push of a small dataset ({files} files), new repository", spread(pushes, "{:.2f} s")],
        ["load of it by tag, nothing cached", spread(loads, "{:.2f} s")],
        [f"push of {args.megabytes} MB", spread([ours for ours, _ in pairs], "{:.1f} s")],
        ["`upload_folder` of the same", spread([theirs for _, theirs in pairs], "{:.1f} s")],
        ["ratio, in pairs", spread([ours / theirs for ours, theirs in pairs], "{:.2f}")],
    ]
    told = paragraphs(
        table(["against the double of the Hub, over LFS", "median (range)"], rows),
        "A push checks every byte of the folder first, commits once, reads the commit back (sizes, hashes, and rows "
        f"from the footers) and tags it. {len(pairs)} pairs. "
        + settings("publishing.py", ("huggingface_hub", "datasets")),
    )  # fmt: skip
    print(told)
    if args.write:
        write_section(args.write, "Publishing", told)
    return 0


if __name__ == "__main__":
    sys.exit(main())

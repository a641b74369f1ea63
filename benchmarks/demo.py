"""Measures time and memory of `make demo` on this machine.

Print a table:       python -m benchmarks.demo
Write it into the docs: python -m benchmarks.demo --write docs/performance.md

Whole processes are measured, import and loading included: seconds of wall time and peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import paragraphs, settings, table, write_section

TITLE = "What the demo costs"
PACKAGES = ("torch", "diffusers", "transformers", "datasets", "numpy", "pillow")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the Markdown file whose section is written")
    return parser


def measure(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Runs one `diffcore-hf` process; returns seconds and peak resident megabytes."""
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "diffcore_hf", *arguments],
        cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # wait4 returns the peak of this child alone.
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"diffcore-hf {' '.join(arguments)} failed with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - start, usage.ru_maxrss * unit / 1e6


def main() -> None:
    """Runs the commands of the demo one after the other and reports each."""
    args = make_parser().parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = min(measure(["--help"], folder) for _ in range(5))
        rows.append(("`diffcore-hf --help` (best of 5)", *runs))
        rows.append(("`diffcore-hf miniature out/birds`", *measure(["miniature", "out/birds"], folder)))
        rows.append(("`diffcore-hf augment miniature`", *measure(["augment", "miniature"], folder)))
        rows.append(("the same command again: no work is left", *measure(["augment", "miniature"], folder)))
        export = ["export", "out/miniature", "--output", "out/all", "--filter.policy.name", "all"]
        rows.append(("`diffcore-hf export`, another policy", *measure(export, folder)))
        manifest = json.loads((folder / "out/miniature/diffcore.json").read_text())
    counts, model = manifest["counts"], manifest["recipe"]["model"]
    cells = [(what, f"{seconds:.2f}", f"{megabytes:,.0f} MB") for what, seconds, megabytes in rows]
    text = paragraphs(
        table(("command", "seconds", "peak memory"), cells),
        f"Each figure is for a whole process, imports included. The run has {counts['rows']} rows, "
        f"{counts['kept']} kept images and {counts['attempts']} attempts, with {model['steps']} steps at "
        f"{model['size']} pixels. "
        f"{settings('demo', PACKAGES)}",
    )
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)


if __name__ == "__main__":
    main()

"""Measures time and memory of `make demo` on this machine.

To print a table:             python -m benchmarks.demo
To write it into the docs:    python -m benchmarks.demo --write docs/performance.md

Wall time and peak resident memory are measured for whole processes, including the import and the loading of weights.
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
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


def measure(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Runs one `diffcore-hf` process. Returns its seconds and its peak resident megabytes."""
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "diffcore_hf", *arguments],
        cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # wait4 returns the peak memory of this child process only.
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"diffcore-hf {' '.join(arguments)} failed with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - start, usage.ru_maxrss * unit / 1e6


def main() -> None:
    """Runs the commands of the demo one after the other and prints the table."""
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
        f"Each figure is for a whole process with its imports. The run has {counts['rows']} rows, "
        f"{counts['kept']} kept images and {counts['attempts']} attempts, with {model['steps']} steps at "
        f"{model['size']} pixels. "
        f"{settings('demo', PACKAGES)}",
    )
    print(text)
    if args.write:
        write_section(args.write, TITLE, text)


if __name__ == "__main__":
    main()

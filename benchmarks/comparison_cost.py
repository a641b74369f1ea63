"""Measures the cost of `filter.compare`: pairs of runs of the demo, one with and one without comparisons, in turn.

    python -m benchmarks.comparison_cost --birds out/birds --limit 60 --pairs 3

The figure is the CPU time of the processes, which other programs on the machine change less than the wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

REASONS = ("leak", "memorised", "copy")


def cpu_seconds(birds: Path, limit: int | None, compare: bool) -> float:
    """Returns the CPU time of a run of the demo in a new folder.

    Args:
        birds: folder that `diffcore-hf miniature` wrote.
        limit: number of units; None: all.
        compare: whether images are compared.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "diffcore_hf.commands.main", "augment", "miniature"]
        command += ["--source", str(birds), "--output", f"{folder}/out"]
        command += ["--limit", str(limit)] if limit is not None else []
        command += ["--filter.compare", *REASONS] if compare else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TQDM_DISABLE": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str] | None = None) -> None:
    """Measures the pairs and prints their CPU times and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--birds", type=Path, required=True, help="a folder that `diffcore-hf miniature` wrote")
    parser.add_argument("--limit", type=int, help="units of each run; without it, the whole demo is run")
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args(arguments)
    ratios: list[float] = []
    for pair in range(args.pairs):
        order = (False, True) if pair % 2 == 0 else (True, False)
        seconds = {compare: cpu_seconds(args.birds, args.limit, compare) for compare in order}
        ratios.append(seconds[True] / seconds[False])
        print(f"without {seconds[False]:.1f} s, with {seconds[True]:.1f} s, ratio {ratios[-1]:.3f}", flush=True)
    print(f"median ratio {median(ratios):.3f}")


if __name__ == "__main__":
    main()

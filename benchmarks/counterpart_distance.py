"""Prints how far the generated images of a run are from its real images, and the share that the filter rejects.

    python -m benchmarks.counterpart_distance out/miniature

The distance is the horizontal axis of the figure about the quality of counterparts in docs/results.md. It is the mean
cosine similarity of two real images of a class, minus the mean cosine similarity of a real and a generated image. The
embeddings are those that the run stored, so no model is loaded. Distances of different image towers are not comparable.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.evidence.photo_quality import distance
from diffcore_hf.workflows import export as export_workflow


def measured(folder: Path) -> tuple[float, float, int]:
    """Returns the distance of all generated images of a run, the share that the filter rejects, and their number.

    An image is compared with the real images of the class that it has to show.
    """
    material = export_workflow.read_decided(folder)
    attempts, held, decisions = material.attempts, material.embeddings, material.decisions
    used = decisions.decided & ~np.isnan(attempts.embeddings).any(axis=1)
    kept = np.isin(np.arange(len(used)), decisions.counterpart) & used
    shown = material.plan.shown[attempts.units[used]]
    rejected = 1 - kept.sum() / used.sum()
    return distance(held.labels, held.embeddings, attempts.embeddings[used], shown), float(rejected), int(used.sum())


def main() -> None:
    """Prints both numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="output folder of a run")
    far, rejected, count = measured(parser.parse_args().folder)
    print(f"distance {far:.3f}, rejected {100 * rejected:.1f} % of {count} generated images")


if __name__ == "__main__":
    main()

"""The plan of the overhead benchmark: the state and the estimated time of each cell, and the order of the cells.

Owns the estimates. They are rounded figures of one core, and only the order and the printed plan depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.overhead_cells import CellSettings, is_measured, stored_result

START = 20.0
"""Seconds to import the libraries and to build the network."""
IMAGE = 0.37
"""Seconds of a plain training step for each image of 224 pixels on one core; resnet50 and vit_small_patch16_224."""
IMAGE_ON_GPU = 0.003
LOADED = 0.004
"""Seconds to load an image."""
COSTS = {
    "snapmix": 0.35, "attentive_cutmix": 0.35, "guidedmixup_ap": 0.7, "guidedmixup_ap_greedy": 0.7, "puzzlemix": 0.75,
    "comixup": 0.9, "automix": 2.2, "samix": 2.2, "saliencymix": 0.03, "guidedmixup_sr": 0.03, "augmix": 0.04,
    "pixmix": 0.04,
}  # fmt: skip
"""Time of a mixer as a multiple of a plain step; 0.01 for all others."""


def estimate(cell: CellSettings) -> float:
    """Returns the estimated time of a cell in seconds."""
    image = (IMAGE if cell.device == "cpu" else IMAGE_ON_GPU) * (cell.size / 224) ** 2
    step, load = cell.batch * image, cell.batch * LOADED
    cost = COSTS.get(cell.arm, 0.01)
    if cell.mixer_only:
        return START + (cell.repeats + 1) * (cost * step + load)
    # The first step of the arm is not timed. Each repetition has a plain step and a step of the arm.
    return START + (1 + cost) * step + load + cell.repeats * ((2 + cost) * step + 2 * load)


def cheapest_first(cells: Sequence[CellSettings]) -> list[CellSettings]:
    """Returns the cells in the order in which they are measured."""
    return sorted(cells, key=estimate)


def listing(folder: Path, cells: Sequence[CellSettings]) -> str:
    """Returns the cells in their order with state and estimated time, and the time of all cells that are not measured.

    Args:
        folder: folder of the results.
        cells: cells that the options select.
    """
    lines, total, due = [], 0.0, 0
    for cell in cheapest_first(cells):
        minutes, state = estimate(cell) / 60, state_of(folder, cell)
        if state != "measured":
            total, due = total + minutes, due + 1
        lines.append(f"{minutes:6.1f} min  {state:12}  {cell.name}")
    return "\n".join([*lines, f"{due} of {len(cells)} cells are not measured. They take about {total:.0f} minutes"])


def state_of(folder: Path, cell: CellSettings) -> str:
    """Returns `measured`, `due`, or `not possible` if the last measurement gave a reason. It is then tried again."""
    if is_measured(folder, cell):
        return "measured"
    return "not possible" if "reason" in stored_result(folder, cell) else "due"

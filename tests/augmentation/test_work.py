"""Simulation of workers that share a run. It measures how long they wait, and how much work is done twice."""

import heapq

import numpy as np
import pytest

from diffcore_hf.augmentation.part_sizes import PartSizes
from diffcore_hf.augmentation.schedule import Schedule
from diffcore_hf.augmentation.share import Share
from diffcore_hf.augmentation.tasks import AttemptTask, CommittedPart
from diffcore_hf.augmentation.work import next_piece
from diffcore_hf.method.filtration import Units

BATCH, ATTEMPTS = 8, 3


class _Work:
    def sizes(self, positions):
        return None


class Simulation:
    """Workers that make one image a second. A worker reads the parts and notes of other workers without delay."""

    def __init__(self, count, units, kept_share):
        self.units = units
        draw = np.random.default_rng(0)
        self.passes = draw.random((ATTEMPTS, units)) < kept_share
        labels = np.arange(units) % 20
        self.schedule = Schedule(
            Units([str(unit) for unit in range(units)], np.zeros(units, np.int64), labels), units, ATTEMPTS, 20
        )
        self.shares = [Share(index, count) for index in range(count)]
        self.sizes = [PartSizes(BATCH, None) for _ in self.shares]
        self.claimed = {}
        self.made = 0

    def next_part(self, worker):
        """Returns the next part of a worker; None if nothing is free now."""
        due = self.schedule.due()
        keys = due.rounds * self.units + due.positions
        claims = [number * self.units + np.array(items) for number, items in self.claimed.values()]
        taken = np.concatenate(claims) if claims else np.zeros(0, np.int64)
        free = ~np.isin(keys, taken)
        share = self.shares[worker]
        return next_piece(due[free], share, len(self.shares), self.sizes[worker], _Work()) if free.any() else None

    def finish(self, worker):
        number, positions = self.claimed.pop(worker)
        units = np.array(positions)
        self.schedule.add(units, np.full(len(units), number), self.passes[number, units])
        self.made += len(units)
        task = AttemptTask(tuple((str(unit), 0) for unit in positions), number)
        self.sizes[worker].measured(CommittedPart(task, None, float(len(units)), BATCH))

    def run(self):
        """Runs all workers. Returns the time at which nothing is due any more."""
        events, idle, now = [], set(range(len(self.shares))), 0.0
        while True:
            for worker in sorted(idle):
                if (piece := self.next_part(worker)) is not None:
                    self.claimed[worker] = piece
                    heapq.heappush(events, (now + len(piece[1]), worker))
                    idle.discard(worker)
            if not events:
                return now
            now, worker = heapq.heappop(events)
            self.finish(worker)
            idle.add(worker)


@pytest.mark.parametrize("kept_share", [0.9, 0.5, 0.0], ids=["most kept", "half kept", "none kept"])
def test_eight_workers_work_at_least_95_percent_of_the_time_without_a_barrier_between_rounds(kept_share):
    simulation = Simulation(8, 2000, kept_share)
    seconds = simulation.run()
    needed = Simulation(1, 2000, kept_share)
    needed.run()
    assert simulation.made <= 1.01 * needed.made
    assert needed.made / 8 / seconds >= 0.95

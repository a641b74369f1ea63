"""Workers on a Ray cluster: one Ray actor for each place of the cluster (ray_cluster.py).

Owns the start of the actors, their replacement, the signals to them and their end. Ray starts an actor on its node and
reports its death. Each actor is a worker like any other (rounds.py): it reads and writes the output folder, so no image
travels through Ray. If a node joins the cluster, its workers are started. If a node leaves, others do its work.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from diffcore_hf.augmentation.decisions import Decider
from diffcore_hf.augmentation.executors import ray_actor, team
from diffcore_hf.augmentation.executors.ray_cluster import Place, RayCluster, alive, places
from diffcore_hf.augmentation.executors.started_worker import WorkOrder
from diffcore_hf.augmentation.progress import Progress
from diffcore_hf.augmentation.rounds import Collected
from diffcore_hf.augmentation.run import Run
from diffcore_hf.augmentation.share import Share
from diffcore_hf.core import leftovers, signals
from diffcore_hf.core.errors import UserError, innermost_cause

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
"""Time between two checks of the actors."""
NODES_SECONDS = 3.0
"""Time between two readings of the list of nodes."""
FOLDER_SECONDS = 10.0
"""Longest time in seconds until a new file in the output folder is visible on all nodes."""
FAILED_STARTS = 3
"""Number of failed starts after which a place gets no worker."""


def collect_with_ray(
    run: Run, share: Share, cluster: RayCluster, *, grace: float = signals.GRACE, progress: bool = True
) -> Collected:
    """Compute all facts that are due on a Ray cluster.

    Args:
        run: the run; its run.json is written, and its source is on disk.
        share: share of all workers of this cluster together.
        cluster: the cluster.
        grace: seconds from a signal to the end of the run.
        progress: true shows the progress bar.

    Raises:
        UserError: the cluster cannot be used, or workers ended with an error and attempts are missing.
    """
    notes = team.TeamNotes(run)
    actors = _Actors(notes, _Shares(share), grace)
    with closing(Progress(0, shown=progress)) as bar:
        bar.describe("connecting to the Ray cluster")
        try:
            with cluster.connected(), _probe_file(run.folder.private) as probe:
                try:
                    actors.work(bar, probe)
                finally:
                    actors.end()
        except signals.Stopped as error:
            return Collected(Decider.read(run), interrupted=True, signal=error.number)
    if actors.refused and not actors.has_worked:
        raise UserError(next(iter(actors.refused.values())))
    return team.result(run, share, notes, "Use a smaller --batch_size, or nodes with more memory")


@cache
def _actor_class() -> Any:
    import ray

    # Ray does not restart dead actors. This process does, because it counts the images between two deaths.
    return ray.remote(max_restarts=0)(ray_actor.RayWorker)


@cache
def _send_signal() -> Any:
    import ray

    return ray.remote(num_cpus=0, max_retries=0)(ray_actor.send_signal)


@dataclass
class _Shares:
    """The shares of the workers. The number of workers changes, so a new worker can get the share of a former one.

    Args:
        all: share of all workers together.
    """

    all: Share
    _made: int = 0
    _free: list[Share] = field(default_factory=list)

    def take(self, count: int) -> list[Share]:
        """Return the shares of `count` new workers."""
        reused, self._free = self._free[:count], self._free[count:]
        first = self._made
        self._made += count - len(reused)
        return [*reused, *self.all.divided(self._made)[first:]]

    def give_back(self, share: Share) -> None:
        """Make a share available for another worker."""
        self._free.append(share)


@dataclass
class _Member:
    """The worker of one place."""

    place: Place
    order: WorkOrder
    deaths: team.Deaths
    actor: Any = None
    """Handle of the actor; None: there is none."""
    call: Any = None
    """Reference to the result of the method that the actor runs; None: it runs none."""
    pid: int | None = None
    """Id of the process of the actor; None: it has not started to work."""
    failed_starts: int = 0
    signals_sent: int = 0

    @property
    def on_node(self) -> Any:
        """The option that lets Ray use only the node of this place."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(self.place.node, soft=False)

    @property
    def is_waiting(self) -> bool:
        """Whether Ray has not started the actor yet."""
        return self.call is not None and self.pid is None

    def start(self, probe: str) -> None:
        """Let Ray start the actor as soon as its node has room."""
        options = {"num_cpus": self.place.cpus, "num_gpus": self.place.gpus, "scheduling_strategy": self.on_node}
        self.actor = _actor_class().options(**options).remote()
        self.call = self.actor.check.remote(probe, ray_actor.package_version(), FOLDER_SECONDS)
        self.pid, self.signals_sent = None, 0

    def work(self, pid: int) -> None:
        """Start the work of an actor that has started."""
        self.pid, self.failed_starts = pid, 0
        self.call = self.actor.work.remote(self.order, os.getcwd(), self.place.threads)

    def pass_signals_on(self) -> None:
        """Send the signals that this process received to the process of the actor."""
        for number in signals.received()[self.signals_sent :]:
            _send_signal().options(scheduling_strategy=self.on_node).remote(self.pid, number)
            self.signals_sent += 1

    def end(self) -> None:
        """End the process of the actor, so that its GPU is free."""
        import ray

        if self.actor is not None:
            with suppress(ray.exceptions.RayError, ValueError):
                ray.kill(self.actor)
        self.actor = self.call = self.pid = None


@dataclass
class _Actors:
    """All actors of a run.

    Args:
        notes: the notes of their workers.
        shares: shares of their workers.
        grace: seconds from a signal to the end of the run.
    """

    notes: team.TeamNotes
    shares: _Shares
    grace: float
    probe: str = ""
    """A new file in the output folder, which each node must see."""
    refused: dict[Place, str] = field(default_factory=dict)
    """Place that cannot be used -> the reason as one line."""
    has_worked: bool = False
    """Whether a worker has started to work."""
    _members: dict[Place, _Member] = field(default_factory=dict)
    _is_finished: bool = False
    """Whether a worker has ended because nothing was due."""
    _nodes_read: float = -NODES_SECONDS

    def work(self, bar: Progress, probe: str) -> None:
        """Start the actors and wait until they have ended.

        Args:
            bar: the progress bar.
            probe: a new file in the output folder, which each node must see.

        Raises:
            Stopped: a signal was received, and the actors have ended after it.
        """
        self.probe = probe
        bar.expect(team.expected(self.notes.run))
        while self._step():
            team.show_progress(bar, self.notes, self._waiting())
            with signals.interruptible(signals.EXPORT):
                time.sleep(CHECK_SECONDS)
        signals.check()

    def end(self) -> None:
        """End the actors that still run. Their unfinished parts are computed again by the next run."""
        for member in self._members.values():
            member.end()

    def _step(self) -> bool:
        """React to what happened in the cluster since the last call, and return whether work is left."""
        for member in list(self._members.values()):
            self._check(member)
        if self._may_start():
            self._follow_nodes()
        for member in self._members.values():
            if member.is_waiting and not self._may_start():
                member.end()
            elif member.call is not None and member.pid is not None:
                member.pass_signals_on()
        if not self._members and not self.refused:
            return self._may_start()
        return any(member.call is not None for member in self._members.values())

    def _may_start(self) -> bool:
        """Return whether new actors are useful."""
        return signals.requested() is None and not self._is_finished

    def _waiting(self) -> str:
        """Return what the run waits for, as words for the progress bar; "" if all actors work."""
        if not self._members:
            return "the Ray cluster has no node for a worker yet"
        waiting = sum(1 for member in self._members.values() if member.is_waiting)
        return f"{waiting} of {len(self._members)} workers wait for room in the Ray cluster" if waiting else ""

    def _follow_nodes(self) -> None:
        """Start the workers of new places, and remove the places of nodes that have left."""
        import ray

        if time.monotonic() - self._nodes_read < NODES_SECONDS:
            return
        self._nodes_read = time.monotonic()
        nodes = ray.nodes()
        for member in list(self._members.values()):
            if member.place.node not in alive(nodes):
                self._left(member)
        found = places(nodes, self.notes.run.recipe.model.device)
        new = [place for place in found if place not in self._members and place not in self.refused]
        for place, share in zip(new, self.shares.take(len(new)), strict=True):
            order = WorkOrder.of(self.notes.run, share, self.grace)
            self._members[place] = _Member(place, order, team.Deaths(self.notes, share))
            self._members[place].start(self.probe)

    def _left(self, member: _Member) -> None:
        """Remove a place whose node has left. If the node joins the cluster again, its places are used again."""
        log.warning("a node has left the Ray cluster. Other workers do the work of worker %s", _share(member))
        self._remove(member)

    def _remove(self, member: _Member) -> None:
        member.end()
        del self._members[member.place]
        self.shares.give_back(member.order.share)

    def _check(self, member: _Member) -> None:
        """React if the method of an actor has ended."""
        import ray

        if member.call is None or not ray.wait([member.call], timeout=0)[0]:
            return
        try:
            result = ray.get(member.call)
        except ray.exceptions.RayTaskError as error:
            self._failed(member, error)
        except ray.exceptions.RayError as error:
            self._died(member, error)
        else:
            self._returned(member, result)

    def _returned(self, member: _Member, result: tuple[int, str] | None) -> None:
        """React to the result of a method.

        Args:
            member: the worker.
            result: the result of `RayWorker.check`, or None from `RayWorker.work`.
        """
        if result is None:
            self._is_finished = self._is_finished or signals.requested() is None
            member.end()
        elif result[1]:
            self._refuse(member, result[1])
        else:
            self.has_worked = True
            member.work(result[0])

    def _failed(self, member: _Member, error: Any) -> None:
        """React to an exception in the process of an actor. The note of the worker has its message."""
        if member.pid is None:
            self._refuse(member, f"cannot start a worker ({innermost_cause(error)})")
            return
        if not isinstance(error.cause, (UserError, KeyboardInterrupt)):
            log.error("%s", error)
        member.end()

    def _died(self, member: _Member, error: Exception) -> None:
        """Start an actor again whose process has ended, unless it died too often without progress."""
        import ray

        has_started = member.pid is not None
        member.end()
        if isinstance(error, ray.exceptions.ActorUnschedulableError):
            self._left(member)
        elif not self._may_start():
            return
        elif not has_started:
            member.failed_starts += 1
            if member.failed_starts >= FAILED_STARTS:
                self._refuse(member, f"cannot start a worker ({innermost_cause(error)})")
            else:
                member.start(self.probe)
        elif member.deaths.add():
            log.warning("worker %s has died and is started again", _share(member))
            member.start(self.probe)

    def _refuse(self, member: _Member, fault: str) -> None:
        """Exclude the place of a worker, such as a GPU of a node, from the rest of this run."""
        line = f"node {member.place.node[:12]} of the Ray cluster {fault}"
        self.refused[member.place] = line
        log.warning("%s. It gets no work", line)
        self._remove(member)


def _share(member: _Member) -> str:
    return str(member.order.share)


@contextmanager
def _probe_file(private: Path) -> Iterator[str]:
    """Write a new file into the folder `.diffcore`, and remove it at the end. Yield its absolute path."""
    path = leftovers.temporary_name(private.absolute() / "nodes")
    path.write_bytes(b"")
    try:
        yield str(path)
    finally:
        leftovers.remove(path)

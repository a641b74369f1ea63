"""Tests of the reaction to events in a Ray cluster. Stand-ins replace the actors, and Ray is not imported."""

import sys
from types import SimpleNamespace

import pytest
from pretended_ray import ActorUnschedulableError, Cluster, RayError, RayTaskError

from diffcore_hf.augmentation.executors import ray_workers, team
from diffcore_hf.augmentation.executors.started_worker import WorkOrder
from diffcore_hf.augmentation.share import Share
from diffcore_hf.core import signals
from diffcore_hf.core.errors import UserError


@pytest.fixture
def cluster(monkeypatch):
    """Returns a cluster of two nodes. Each step reads the list of nodes again, without the usual wait."""
    cluster = Cluster(a=4, b=2)
    for name, module in cluster.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(ray_workers, "NODES_SECONDS", 0)
    for function in (ray_workers._actor_class, ray_workers._send_signal):
        function.cache_clear()
        monkeypatch.setattr(ray_workers, function.__name__, function.__wrapped__)
    return cluster


@pytest.fixture
def actors(cluster, monkeypatch, tmp_path):
    """Returns the actors of a run that has not started any actor yet."""
    monkeypatch.setattr(WorkOrder, "of", lambda run, share, grace: SimpleNamespace(share=share))
    recipe = SimpleNamespace(model=SimpleNamespace(device="auto"))
    notes = team.TeamNotes(SimpleNamespace(folder=SimpleNamespace(private=tmp_path), recipe=recipe))
    return ray_workers._Actors(notes, ray_workers._Shares(Share()), 30.0)


def started(cluster, actors):
    """Lets all actors begin their work, and returns them by node."""
    actors._step()
    for actor in cluster.running().values():
        actor.returns((7, ""))
    actors._step()
    return cluster.running()


def shares(cluster):
    return {node: str(actor.arguments[0].share) for node, actor in cluster.running().items() if actor.method == "work"}


def test_each_node_gets_a_worker_that_reserves_its_cpus(cluster, actors):
    started(cluster, actors)
    assert shares(cluster) == {"a": "0/2", "b": "1/2"}
    assert [actor.options["num_cpus"] for actor in cluster.actors] == [4, 2]
    assert [actor.arguments[2] for actor in cluster.actors] == [4, 2]


def test_the_run_ends_when_the_workers_have_ended(cluster, actors):
    for actor in started(cluster, actors).values():
        assert actors._step()
        actor.returns(None)
    assert not actors._step()
    assert cluster.running() == {}


def test_a_worker_that_waits_for_room_does_not_delay_the_end(cluster, actors):
    actors._step()
    cluster.actors[0].returns((7, ""))
    assert actors._waiting() == "2 of 2 workers wait for room in the Ray cluster"
    actors._step()
    assert actors._waiting() == "1 of 2 workers wait for room in the Ray cluster"
    cluster.actors[0].returns(None)
    assert not actors._step()
    assert cluster.running() == {}


def test_a_dead_worker_is_replaced_with_its_share(cluster, actors, caplog):
    started(cluster, actors)["a"].returns(RayError())
    assert set(started(cluster, actors)) == {"a", "b"}
    assert shares(cluster) == {"a": "0/2", "b": "1/2"}
    assert "worker 0/2 has died and is started again" in caplog.text


def test_a_worker_that_dies_again_and_again_is_not_replaced_any_more(cluster, actors):
    del cluster.cpus["b"]
    for _ in range(team.RESTARTS + 1):
        started(cluster, actors)["a"].returns(RayError())
    assert not actors._step()
    assert len(cluster.actors) == team.RESTARTS + 1


def test_nodes_join_and_leave(cluster, actors):
    started(cluster, actors)
    cluster.cpus = {"b": 2, "c": 1, "d": 1}
    actors._step()
    started(cluster, actors)
    assert shares(cluster) == {"b": "1/2", "c": "0/2", "d": "2/3"}
    cluster.cpus = {}
    assert actors._step()
    assert cluster.running() == {}
    assert actors._waiting() == "the Ray cluster has no node for a worker yet"


def test_a_node_that_leaves_before_its_actor_starts_is_no_fault(cluster, actors):
    actors._step()
    cluster.actors[0].returns(ActorUnschedulableError())
    del cluster.cpus["a"]
    started(cluster, actors)
    assert shares(cluster) == {"b": "1/2"}
    assert actors.refused == {}


@pytest.mark.parametrize(
    "results, reason",
    [
        ([(7, "does not see /out. Use an --output that all nodes have at the same path")], "does not see /out. Use"),
        ([RayTaskError(ImportError("No module named 'x y'"))], "cannot start a worker"),
        ([RayError("the process ended")] * ray_workers.FAILED_STARTS, r"cannot start a worker \(the process ended\)"),
    ],
)
def test_a_node_that_cannot_work_gets_no_worker_and_the_others_work(cluster, actors, caplog, results, reason):
    actors._step()
    for result in results:
        cluster.running()["a"].returns(result)
        assert actors._step()
    assert set(started(cluster, actors)) == {"b"}
    [line] = actors.refused.values()
    assert line.startswith(f"node a of the Ray cluster {reason[:20]}")
    assert f"{line}. It gets no work" in caplog.text


def test_a_worker_with_an_error_is_not_replaced(cluster, actors, caplog):
    started(cluster, actors)["a"].returns(RayTaskError(UserError("the model fails on every image")))
    assert actors._step()
    assert set(cluster.running()) == {"b"}
    assert caplog.text == ""
    cluster.running()["b"].returns(RayTaskError(ValueError("a fault of the program")))
    assert not actors._step()
    assert "a fault of the program" in caplog.text


def test_signals_are_sent_once_to_the_process_of_each_worker(cluster, actors, monkeypatch):
    actors._step()
    cluster.actors[0].returns((7, ""))
    actors._step()
    received = [15]
    monkeypatch.setattr(signals, "received", lambda: tuple(received))
    monkeypatch.setattr(signals, "requested", lambda: received[0])
    assert actors._step()
    assert set(cluster.running()) == {"a"}, "an actor that has not started is not needed any more"
    received.append(2)
    assert actors._step()
    assert cluster.sent == [("a", 7, 15), ("a", 7, 2)]
    cluster.running()["a"].returns(None)
    assert not actors._step()

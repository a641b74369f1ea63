"""Tests of the places for workers on the nodes of a Ray cluster, and of the address. Ray is not imported."""

import importlib.util
import socket
import subprocess
import sys
from types import ModuleType

import pytest

from diffcore_hf.augmentation.executors import ray_cluster
from diffcore_hf.augmentation.executors.ray_cluster import Place, RayCluster, places
from diffcore_hf.augmentation.executors.starting import workers_of
from diffcore_hf.core.errors import UserError


def node(name, alive=True, **resources):
    return {"NodeID": name, "Alive": alive, "Resources": resources}


BOTH = [node("a", CPU=8.0), node("b", CPU=8.0, GPU=2.0)]


@pytest.mark.parametrize(
    "nodes, device, expected",
    [
        ([], "auto", []),
        ([node("a", CPU=8.0)], "auto", [Place("a", 0, 8.0, 0, 8)]),
        ([node("a", CPU=2.0), node("b", CPU=4.0)], "auto", [Place("a", 0, 2.0, 0, 2), Place("b", 0, 4.0, 0, 4)]),
        ([node("a", CPU=2.0), node("b", alive=False, CPU=4.0)], "auto", [Place("a", 0, 2.0, 0, 2)]),
        ([node("head", CPU=0.0), node("old")], "auto", []),
        (BOTH, "auto", [Place("b", 0, 1.0, 1, 4), Place("b", 1, 1.0, 1, 4)]),
        (BOTH, "cuda", [Place("b", 0, 1.0, 1, 4), Place("b", 1, 1.0, 1, 4)]),
        (BOTH, "cpu", [Place("a", 0, 8.0, 0, 8), Place("b", 0, 8.0, 0, 8)]),
        ([node("a", CPU=8.0)], "cuda", []),
        ([node("a", GPU=1.0)], "auto", [Place("a", 0, 0.0, 1, 1)]),
    ],
)
def test_each_gpu_or_without_gpus_each_node_gets_a_worker(nodes, device, expected):
    assert places(nodes, device) == expected


@pytest.fixture
def closed_port():
    """Returns a port of this machine at which nothing answers."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.mark.parametrize("address", ["", "cluster", "10.0.0.1", "host:port", "host:0", "host:99999", "http://host:80"])
def test_an_address_of_another_form_is_one_line(address):
    with pytest.raises(UserError, match=r"^--address is '.*'; use HOST:PORT, such as 10\.0\.0\.1:6379"):
        RayCluster(address).check()


def test_an_address_that_does_not_answer_is_one_line_whose_remedy_works(closed_port, monkeypatch):
    address = f"127.0.0.1:{closed_port}"
    with pytest.raises(UserError, match=rf"^no Ray cluster answers at --address '{address}' \(Connection refused\)"):
        RayCluster(address).check()
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=rf"^no Ray cluster answers at RAY_ADDRESS '{address}'"):
        RayCluster().check()
    with socket.create_server(("127.0.0.1", closed_port)):
        RayCluster().check()


def test_without_the_library_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^--workers ray needs the library ray\. Run: pip install 'diffcore-hf\[ray\]'$"
    ):
        RayCluster().check()


def test_the_options_name_processes_or_a_cluster():
    assert workers_of(None) is None
    assert workers_of("2") == 2
    assert workers_of("ray") == RayCluster()
    assert workers_of("ray", "10.0.0.1:6379") == RayCluster("10.0.0.1:6379")
    for text in (None, "2"):
        with pytest.raises(UserError, match=r"^--address h:1 is used only with --workers ray\. Add --workers ray"):
            workers_of(text, "h:1")


def test_an_address_that_is_not_that_of_ray_is_one_line(monkeypatch):
    def run(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match=r"^no Ray cluster answered at 'h:1' within 60 s\. Run `ray stop`"):
        ray_cluster._connect("h:1")
    failed = subprocess.CompletedProcess([], 1, "", "Traceback\nRuntimeError: Version mismatch\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: failed)
    with pytest.raises(UserError, match=r"^the Ray cluster at 'h:1' cannot be used \(RuntimeError: Version mismatch\)"):
        ray_cluster._connect("h:1")

"""Tests of temporary files: the name of their writer, and their removal when the writer has ended."""

import os
import socket
import subprocess
import sys

import pytest

from diffcore_hf.core import leftovers
from diffcore_hf.core.leftovers import is_leftover, remove_leftovers, temporary_name


@pytest.fixture(scope="module")
def ended():
    """Returns the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name_of(tmp_path, monkeypatch, **writer):
    """Returns a temporary name as another process makes it; `writer` has the pid, host or namespace of that process."""
    with monkeypatch.context() as patch:
        if "pid" in writer:
            patch.setattr(os, "getpid", lambda: writer["pid"])
        if "host" in writer:
            patch.setattr(socket, "gethostname", lambda: writer["host"])
        if "namespace" in writer:
            patch.setattr(leftovers, "_namespace", lambda: writer["namespace"])
        return temporary_name(tmp_path / "part").name


def test_hosts_with_the_same_process_id_write_to_different_names(tmp_path, monkeypatch):
    hosts = ("node-1", "node-2", "node-2", "no/de" * 40)
    names = [name_of(tmp_path, monkeypatch, pid=7, host=host) for host in hosts]
    assert len(set(names)) == 4
    assert names[0].startswith(".part.node-1.7.") and names[1].startswith(".part.node-2.7.")
    assert all(name.endswith(".tmp") and "/" not in name and len(name) < 100 for name in names)


@pytest.mark.parametrize(
    "writer, removed",
    [
        ({}, False),
        ({"pid": "ended"}, True),
        ({"pid": "ended", "host": "another-host"}, False),
        ({"pid": "ended", "namespace": "abc"}, False),
        ({"pid": 10**18}, True),
    ],
    ids=["this process", "an ended process", "another host", "another container", "no process id of this system"],
)
def test_only_leftovers_of_ended_processes_of_this_host_are_removed(tmp_path, monkeypatch, ended, writer, removed):
    writer = {key: ended if value == "ended" else value for key, value in writer.items()}
    name = name_of(tmp_path, monkeypatch, **writer)
    assert is_leftover(name) == removed
    (tmp_path / "parts/r0/ab").mkdir(parents=True)
    (tmp_path / "parts/r0/ab" / name).write_bytes(b"half a part")
    (tmp_path / "parts/r0/ab/part.parquet").write_bytes(b"a part")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "file").write_bytes(b"half an export")
    assert remove_leftovers(tmp_path) == 2 * removed
    assert (tmp_path / "parts/r0/ab" / name).exists() == folder.exists() == (not removed)
    assert (tmp_path / "parts/r0/ab/part.parquet").exists()


def test_a_name_of_an_earlier_version_without_a_namespace_is_a_leftover(ended):
    host = temporary_name(leftovers.Path("x")).name.split(".")[2]
    assert is_leftover(f".part.{host}.{ended}.0123abcd.tmp")


@pytest.mark.parametrize("name", ["notes.tmp", ".part.parquet.123.tmp", ".part.host.1.0123abcd.temp", "part.parquet"])
def test_files_of_other_programs_are_not_leftovers(name):
    assert not is_leftover(name)


def test_a_leftover_that_may_not_be_removed_stays(tmp_path, monkeypatch, ended):
    name = name_of(tmp_path, monkeypatch, pid=ended)
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(os, "unlink", lambda *arguments, **keywords: (_ for _ in ()).throw(PermissionError()))
    remove_leftovers(tmp_path)
    assert (tmp_path / name).exists()

"""Tests of pushes in separate processes: killed pushes, two pushes at once, and output without a token."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from testing import hub_steps as steps
from testing import kills
from testing.enlarged import enlarged
from testing.hub_double.client import environment
from testing.hub_double.faults import STEPS, Silence


@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_after_a_kill_at_any_moment_the_next_push_completes_and_no_other_version_changes(
    hub, client, xet_client, finished, second, tmp_path, xet
):
    ready = xet_client if xet else client
    repo = hub.repo_id()
    ready(steps.push, finished, repo, "v1.0.0")
    before = hub.dataset(repo).tags["v1.0.0"].sha
    probe = enlarged(second, tmp_path / "probe", 300 + xet, row_bytes=kills.ROW_BYTES)
    hub.log.clear()
    seconds = kills.seconds_of(hub, tmp_path / "home", probe, hub.repo_id(), "v1.1.0", xet=xet)
    whole = hub.log.uploaded()
    for number, share in enumerate((0.1, 0.35, 0.5, 0.7, 0.9)[xet::2]):
        version = f"v1.{number + 1}.0"
        # The content is new, so Xet has to send it.
        out = enlarged(second, tmp_path / version, 310 + 10 * number + xet, row_bytes=kills.ROW_BYTES)
        home, known = tmp_path / f"home-{number}", kills.stored(hub, repo)
        kills.push_and_kill(hub, home, out, repo, version, share * seconds, xet=xet)
        stored = kills.stored(hub, repo) - known
        hub.log.clear()
        kills.seconds_of(hub, home, out, repo, version, xet=xet)
        assert hub.log.uploaded() + stored <= kills.ROUNDING * whole  # bytes that the Hub has stored are not sent again
        assert ready(steps.rows, repo, version) == ready(steps.rows, str(out))
        assert ready(steps.call, "verify", f"{repo}@{version}") == []
        assert hub.dataset(repo).tags["v1.0.0"].sha == before
    assert ready(steps.rows, repo, "v1.0.0") == ready(steps.rows, str(finished))


@pytest.mark.parametrize(
    ("number", "way", "step"), [(0, "lfs", "upload"), (1, "lfs", "commit"), (2, "xet", "shard"), (3, "xet", "commit")]
)
def test_the_bytes_that_a_killed_push_stored_are_not_sent_again(hub, finished, tmp_path, number, way, step):
    xet, repo = way == "xet", hub.repo_id()
    probe, out = (
        enlarged(finished, tmp_path / name, 400 + 10 * number + other, row_bytes=kills.ROW_BYTES)
        for other, name in enumerate(("probe", "out"))
    )
    # This push stores the files in Xet.
    kills.seconds_of(hub, tmp_path / "probing", finished, hub.repo_id(), "v1.0.0", xet=xet)
    hub.log.clear()
    kills.seconds_of(hub, tmp_path / "probing", probe, hub.repo_id(), "v1.0.0", xet=xet)
    whole = hub.log.uploaded()
    hub.create(repo, private=True)
    known = kills.stored(hub, repo)
    rule = hub.faults.add(*STEPS[step], Silence(0.5), times=None)  # the time in which the kill can happen

    def has_started() -> bool:
        return rule.hits > 0 and kills.stored(hub, repo) > known

    kills.push_and_kill_when(hub, tmp_path / "home", out, repo, "v1.0.0", has_started, xet=xet)
    stored = kills.stored(hub, repo) - known
    hub.faults.clear()
    hub.log.clear()
    kills.seconds_of(hub, tmp_path / "home", out, repo, "v1.0.0", xet=xet)
    assert hub.log.uploaded() + stored <= kills.ROUNDING * whole
    assert hub.log.uploaded() == 0 or step == "upload"


def test_two_pushes_at_once_both_succeed(hub, client, finished, second, tmp_path):
    repo = hub.repo_id()
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    pair = [
        kills.start(hub, tmp_path / version, out, repo, version, xet=False)
        for out, version in ((finished, "v1.0.0"), (second, "v1.1.0"))
    ]
    assert [process.communicate()[0] for process in pair] == ["done\n", "done\n"]
    assert client(steps.rows, repo, "v1.0.0") == client(steps.rows, str(finished))
    assert client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(second))


def test_only_one_of_two_simultaneous_pushes_of_a_version_succeeds(hub, client, finished, second, tmp_path):
    repo = hub.repo_id()
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    outs = (finished, second)
    pair = [kills.start(hub, tmp_path / out.parent.name, out, repo, "v1.0.0", xet=False) for out in outs]
    outputs = [process.communicate()[0] for process in pair]
    winner = outs[outputs.index("done\n")]
    assert sorted(outputs)[0] == "done\n" and "has a version v1.0.0 with other content" in sorted(outputs)[1]
    assert "Use --version v1.1.0" in sorted(outputs)[1]
    assert client(steps.rows, repo, "v1.0.0") == client(steps.rows, str(winner))


@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_a_full_disk_gives_a_one_line_error_and_sets_no_tag(hub, client, finished, tmp_path, xet):
    repo = hub.repo_id()
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "diffcore_hf", "push", str(finished), repo, "--version", "v1.0.0"],
        env=environment(hub, tmp_path / "home", xet=xet), capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "Free space on the disk, or set HF_HOME" in done.stderr and not hub.dataset(repo).tags
    client(steps.push, finished, repo, "v1.0.0")


def test_the_command_line_publishes_and_prints_no_token(hub, finished, tmp_path):
    repo = hub.repo_id()

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "diffcore_hf", *words]
        done = subprocess.run(
            command, env=environment(hub, tmp_path / "home", xet=True), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    outputs = [
        run("push", str(finished), repo, "--version", "v1.0.0", "--dry-run"),
        run("push", str(finished), repo, "--version", "v1.0.0"),
        run("push", str(finished), repo, "--version", "v1.0.0"),
        run("versions", repo),
        run("diff", repo, "v1.0.0", str(finished)),
        run("verify", f"{repo}@v1.0.0"),
        run("verify", str(finished)),
    ]
    assert "nothing was sent: v1.0.0 would add" in outputs[0] and "in a new repository" in outputs[0]
    assert f'load_dataset("{repo}", revision="v1.0.0")' in outputs[1]
    assert "the repository is private and should stay private" in outputs[1]
    assert (
        "already published, nothing was sent" in outputs[2] and "v1.0.0" in outputs[3] and "no difference" in outputs[4]
    )
    files = [path.read_bytes() for path in finished.rglob("*") if path.is_file()]
    files += [blob.content or b"" for commit in hub.dataset(repo).commits.values() for blob in commit.files.values()]
    assert not any(hub.token.encode() in content for content in [*files, *map(str.encode, outputs)])


@pytest.mark.parametrize("token", ["hf_plantedTOKENplanted", "another-form-PLANTED", ""])
def test_an_error_message_contains_no_token(hub, finished, tmp_path, token):
    command = [sys.executable, "-m", "diffcore_hf", "push", str(finished), "org/not-yours", "--version", "v1.0.0"]
    env = environment(hub, tmp_path / "home", xet=False, token=token or "unused")
    if not token:
        del env["HF_TOKEN"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("diffcore-hf: push org/not-yours v1.0.0: HTTP 401: ")
    assert "Log in with `hf auth login`" in done.stderr and "PLANTED" not in done.stderr.upper().replace("HF_***", "")
    assert done.stderr.count("\n") == 1

"""Tests pushes with faults of the Hub in each step, and pushes that are killed at random times.

To measure the whole table (half an hour):  python -m benchmarks.faults --write docs/reliability.md
To measure a few rows:                      python -m benchmarks.faults --steps commit,tag --kills 2

The real clients send their requests to a local test server in place of the Hub (testing/hub_double), over LFS and over
Xet. Each fault occurs once, or in every request of a step. These rules are checked:

- If a fault occurs once, the push retries and completes. Refusals are an exception (403, and a name that is taken).
- If a fault always occurs, the push ends with a one-line error, and the second version is not visible. The next push
  completes it.
- The push after a killed push completes the version. It does not send bytes again that were stored.
- The published version equals the folder, and no other version has changed.

A violation is reported as BROKEN, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmarks.report import paragraphs, settings, table, words, write_section
from diffcore_hf.core.errors import UserError
from testing import hub_steps as steps
from testing import kills
from testing.enlarged import enlarged
from testing.hub_double.client import Client
from testing.hub_double.double import Double
from testing.hub_double.faults import STEPS, Cut, LostReply, Reset, ResetMidBody, Silence, Status

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
import tiny_models
import tiny_towers
from small_photos import write_photos

STEPS_OF = {
    "lfs": ("create", "info", "refs", "tree", "resolve", "preupload", "batch", "upload", "verify", "commit", "tag"),
    "xet": ("info", "write-token", "xorb", "shard", "commit", "tag"),
}
"""Protocol -> the steps in which faults are injected."""
TITLES = {"lfs": "Results with the protocol LFS:", "xet": "Results with the protocol Xet:"}
FAULTS = {
    "500": Status(500),
    "429": Status(429, {"Retry-After": "1"}),
    "409": Status(409),
    "412": Status(412),
    "403": Status(403),
    "reset": Reset(),
    "reply lost": LostReply(),
    "reply cut": Cut(1),
    "request cut": ResetMidBody(1),
    "no reply": Silence(60),  # seconds; longer than every timeout of a client
}
PROCESSES = 4
BACKOFF_ONCE, BACKOFF_ALWAYS = (0.05, 0.05, 0.05), (0.05,)
TIMEOUT = 0.5
COMPLETE, NEXT_PUSH, NOT_REQUESTED, BROKEN = "complete", "next push", "–", "BROKEN"
FINISHED_BEFORE = "finished before"
NOT_RETRIED = {"403", "create 409"}
"""Refusals of the Hub. Status 409 in step `create` means that the name belongs to another user."""


class Bench:
    """A test server, a client and two versions of a folder, for one protocol."""

    def __init__(self, protocol: str, directory: Path, old: Path, base: Path):
        self.xet, self.directory = protocol == "xet", directory
        self.hub = Double()
        self.client = Client(self.hub, self.directory / "home", xet=self.xet, timeout=600)
        self.old, self.base = old, base
        self.new, self.count = self.base, 0
        self.stored_at_kills = 0
        """Number of bytes that all killed pushes together had stored."""

    def renew_folder(self, row_bytes: int = 20_000) -> None:
        """Make a second version of the folder with bytes that were never sent."""
        if self.new != self.base:
            shutil.rmtree(self.new)
        self.count += 1
        self.new = enlarged(self.base, self.directory / f"new-{self.count}", self.count, row_bytes=row_bytes)

    def renew_hub(self) -> None:
        """Check that the real Hub accepts every kind of request that was sent, then remove all repositories."""
        self.hub.verify()
        self.hub.reset()

    def push_first(self, repo: str) -> str:
        """Push v1.0.0 and return its commit."""
        self.client(steps.push, self.old, repo, "v1.0.0")
        return self.hub.dataset(repo).tags["v1.0.0"].sha

    def is_complete(self, repo: str, first_commit: str | None) -> bool:
        """Return whether v1.1.0 equals the folder, and v1.0.0 is unchanged."""
        client = self.client
        same = client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(self.new))
        first = self.hub.dataset(repo).tags.get("v1.0.0")
        consistent = client(steps.call, "verify", f"{repo}@v1.1.0") == []
        return same and consistent and (first and first.sha) == first_commit

    def fault(self, step: str, name: str, times: int | None) -> str:
        """Push a second version while a fault occurs in a step. Return the cell of the table.

        Args:
            step: name of the step.
            name: name of the fault.
            times: how often the fault occurs; None means in every request of the step.
        """
        self.renew_hub()
        self.renew_folder()
        repo, client = self.hub.repo_id(), self.client
        first_commit = None if step == "create" else self.push_first(repo)
        rule = self.hub.faults.add(*STEPS[step], FAULTS[name], times=times)
        timeout = TIMEOUT if isinstance(FAULTS[name], Silence) else 60
        failed = False
        try:
            client(
                steps.push,
                self.new,
                repo,
                "v1.1.0",
                backoff=BACKOFF_ONCE if times else BACKOFF_ALWAYS,
                timeout=timeout,
            )
        except UserError as error:
            failed = True
            if "\n" in str(error) or self.is_visible(repo):
                return BROKEN
        except Exception:  # a failure of the Hub has to be a UserError
            traceback.print_exc()
            return BROKEN
        finally:
            self.hub.faults.clear()
        if not rule.hits or (name == "reply cut" and not self.was_cut()):
            return NOT_REQUESTED
        if failed:
            if times and name not in NOT_RETRIED and f"{step} {name}" not in NOT_RETRIED:
                return BROKEN  # the fault was transient, so the push should have retried
            client(steps.push, self.new, repo, "v1.1.0")
        if not self.is_complete(repo, first_commit):
            return BROKEN
        return NEXT_PUSH if failed else COMPLETE

    def was_cut(self) -> bool:
        """Return whether a reply was long enough to be cut."""
        return any(entry.fault and entry.sent for entry in self.hub.log.select())

    def is_visible(self, repo: str) -> bool:
        """Return whether the second version is visible."""
        repository = self.hub.repositories.get(("datasets", repo))
        return repository is not None and "v1.1.0" in repository.tags

    def kill_pushes(self, count: int, draw: random.Random) -> str:
        """Kill `count` running pushes at random times. Return a sentence about the results."""
        self.renew_hub()
        probes = []
        for number in range(3):
            self.renew_folder(kills.ROW_BYTES)
            home, repo = self.directory / f"probe-{number}", self.hub.repo_id()
            self.push_first(repo)
            self.hub.log.clear()
            seconds = kills.seconds_of(self.hub, home, self.new, repo, "v1.1.0", xet=self.xet)
            probes.append((seconds, self.hub.log.uploaded()))
        # A probe is a push that is not killed. Over Xet, only the first probe sends the bytes that all probes share.
        seconds, whole = min(probes)[0], probes[-1][1]
        results: Counter[str] = Counter()
        while results.total() - results[FINISHED_BEFORE] < count and results[FINISHED_BEFORE] < 2 * count:
            results[self.kill(1.25 * draw.random() * seconds, whole)] += 1
        finished = results.pop(FINISHED_BEFORE, 0)
        return (
            f"{results.total()} pushes were killed with SIGKILL at a random time; an uninterrupted push takes "
            f"{seconds:.2f} s. {result_sentence(results)} In addition, {finished} pushes finished before the signal. "
            f"None of the {self.stored_at_kills / 1e6:.1f} MB that the killed pushes had stored was sent again."
        )

    def kill(self, after: float, whole: int) -> str:
        """Kill the push of a second version, push again, and return the result.

        Args:
            after: seconds from the start of the push to the kill.
            whole: number of bytes that an uninterrupted push sends.
        """
        self.renew_hub()
        self.renew_folder(kills.ROW_BYTES)
        repo = self.hub.repo_id()
        first_commit = self.push_first(repo)
        before, home = kills.stored(self.hub, repo), Path(tempfile.mkdtemp(dir=self.directory))
        finished = kills.push_and_kill(self.hub, home, self.new, repo, "v1.1.0", after, xet=self.xet)
        stored = kills.stored(self.hub, repo) - before
        self.hub.log.clear()
        kills.seconds_of(self.hub, home, self.new, repo, "v1.1.0", xet=self.xet)
        if not self.is_complete(repo, first_commit):
            return BROKEN
        if finished:
            return FINISHED_BEFORE
        self.stored_at_kills += stored
        return NEXT_PUSH if self.hub.log.uploaded() + stored <= kills.ROUNDING * whole else BROKEN

    def close(self) -> None:
        """Stop the client and the test server."""
        self.client.close()
        self.hub.close()


def fault_rows(bench: Bench, step: str, faults: Sequence[str]) -> list[list[str]]:
    """Return two rows of the table for a step: with faults that occur once, and with faults that always occur."""
    with closing(bench):
        rows = []
        for times, word in ((1, "once"), (None, "always")):
            rows.append([f"{step}, {word}", *(bench.fault(step, name, times) for name in faults)])
            print(f"{bench.directory.name}: " + " | ".join(rows[-1]), flush=True)
        bench.hub.verify()
        return rows


def result_sentence(results: Counter[str]) -> str:
    """Return the sentence that states how many killed pushes had each result."""
    if not results:
        return "No push was killed before it finished."
    if len(results) == 1:
        return f"The result was `{next(iter(results))}` in all {results.total()} cases."
    listed = ", ".join(
        f"`{result}` for {number} of {results.total()} pushes" for result, number in sorted(results.items())
    )
    return f"The results were {listed}."


def kill_sentence(bench: Bench, count: int, seed: int) -> str:
    """Return the sentence about killed pushes."""
    with closing(bench):
        sentence = bench.kill_pushes(count, random.Random(seed))
        print(f"{bench.directory.name}: {sentence}", flush=True)
        return sentence


def folders(directory: Path) -> tuple[Path, Path]:
    """Write two versions of a small dataset."""
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.workflows.augment import run as run_augment
    from diffcore_hf.workflows.export import export

    tiny_models.seeded(tiny_models.sd).save_pretrained(directory / "sd")
    tiny_models.seeded(tiny_towers.save_clip, directory / "clip")
    recipe = build_recipe(
        {
            "source": {"path": str(write_photos(directory / "photos", [4, 3, 3]))},
            "model": {"path": str(directory / "sd"), "steps": 2},
            "filter": {"path": str(directory / "clip"), "references": 6, "policy": {"name": "all"}},
            "prompts": {"contexts": ["in snow", "at night"]},
            "output": str(directory / "old"),
        }
    )
    run_augment(recipe, progress=False)
    export(directory / "old", directory / "new", {"fraction": 0.5})
    return directory / "old", directory / "new"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=words, default=(), help="only these steps")
    parser.add_argument("--faults", type=words, default=tuple(FAULTS), help="only these faults")
    parser.add_argument("--kills", type=int, default=30, help="number of pushes to kill for each protocol")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random times of the kills")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is replaced")
    return parser


INTRODUCTION = """These tests push to a local test server in place of the Hub. In each test, a first version is pushed
without faults. Then a second version is pushed, with a fault in one step of this push. The fault occurs *once*, or
*always* when the step is repeated. At the end of each test, every byte of the second version was equal to the
folder, and the first version was unchanged.

The results in the tables are:

- `complete`: retries completed the push.
- `next push`: the push failed with a one-line error, and the second version was not visible. The same command then
  completed it.
- `–`: this fault cannot occur in this step.

The columns `500`, `429`, `409`, `412` and `403` are HTTP status codes in the reply. The other faults are:

- `reset`: the connection is reset.
- `reply lost`: the request is carried out, and no reply arrives.
- `reply cut`: the reply ends after its first byte.
- `request cut`: the connection breaks during the request, or during the reply if the request has no body.
- `no reply`: the connection stays open, and nothing arrives.

The steps are the requests of a push in their order. Only the first push to a new repository has the step `create`. The
steps `info`, `refs`, `tree` and `resolve` read the repository. With the protocol LFS, the steps `preupload`, `batch`,
`upload` and `verify` store files. With the protocol Xet, the steps `write-token`, `xorb` and `shard` store files. The
steps `commit` and `tag` publish the version."""


def main() -> int:
    """Measure, print and write the tables."""
    args = make_parser().parse_args()
    start = time.monotonic()
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(PROCESSES) as pool:
        directory = Path(name)
        old, new = folders(directory)

        def bench(protocol: str, purpose: str) -> Bench:
            return Bench(protocol, directory / f"{protocol}-{purpose}", old, new)

        # Faults run in parallel, because the clients mostly wait. Kills come afterwards, because they are timed.
        pending: dict[str, list[Future[list[list[str]]]]] = {
            protocol: [
                pool.submit(fault_rows, bench(protocol, step), step, args.faults)
                for step in protocol_steps
                if not args.steps or step in args.steps
            ]
            for protocol, protocol_steps in STEPS_OF.items()
        }
        tables = {}
        for protocol, futures in pending.items():
            rows: list[list[str]] = []
            for future in futures:
                rows += future.result()
            tables[protocol] = table(["step", *args.faults], rows)
        protocols = STEPS_OF if args.kills else ()
        sentences = {
            protocol: pool.submit(kill_sentence, bench(protocol, "kills"), args.kills, args.seed)
            for protocol in protocols
        }
        for protocol, title in TITLES.items():
            parts += [title, tables[protocol]]
            if args.kills:
                parts.append(sentences[protocol].result())
    broken = "\n".join(parts).count(BROKEN)
    minutes = (time.monotonic() - start) / 60
    measured = settings("faults", ("huggingface_hub", "datasets", "hf-xet"))
    text = paragraphs(*INTRODUCTION.split("\n\n"), *parts, f"The measurement took {minutes:.0f} minutes. {measured}")
    if args.write:
        write_section(args.write, "Faults of the Hub", text)
    print(f"\n{broken} broken" if broken else "\nnothing broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a push survives: every step x every fault, once and for ever, and kills at random moments.

The whole table, half an hour:    python -m benchmarks.faults --write docs/reliability.md
A few rows:                     python -m benchmarks.faults --steps commit,tag --kills 2

Against the double of the Hub in testing/hub_double, with the real clients, over LFS and over Xet. A fault `once` has to
be waited out by the client or by us (refusals excepted: 403, and a name that is taken); one that lasts has to end in
one line with nothing made visible, and one more push after it has to complete. A killed push has to be completed by one
more, which sends nothing again that was stored. Each time the version is read back and compared with the folder, and no
other version may have changed. What breaks any of this is BROKEN, and the exit status 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmarks.report import paragraphs, settings, table, words, write_section
from testing import hub_steps as steps
from testing import kills
from testing.enlarged import enlarged
from testing.hub_double.client import Client
from testing.hub_double.double import Double
from testing.hub_double.faults import STEPS, Cut, LostReply, Reset, ResetMidBody, Silence, Status

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
import tiny_models
from small_photos import write_photos

WAYS = {
    "lfs": (
        "create",
        "info",
        "refs",
        "tree",
        "resolve",
        "preupload",
        "batch",
        "upload",
        "verify",
        "commit",
        "tag",
    ),
    "xet": ("info", "write-token", "xorb", "shard", "commit", "tag"),
}
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
    "silence": Silence(60),  # longer than any client waits, see `environment` and TIMEOUT
}
AT_ONCE = 4
ONCE, FOR_EVER = (0.05, 0.05, 0.05), (0.05,)
TIMEOUT = 0.5
AGAIN = "one more push"
_FINAL = {"403", "create 409"}  # what the Hub refuses is not asked again; 409: the name is somebody else's


class Bench:
    """A double, a client and folders, for one way of sending large files."""

    def __init__(self, way: str, place: Path, old: Path, plain: Path):
        self.xet, self.place = way == "xet", place
        self.hub = Double()
        self.client = Client(self.hub, self.place / "home", xet=self.xet, timeout=600)
        self.old, self.plain = old, plain
        self.new, self.count = self.plain, 0
        self.there = 0  # bytes that were stored when pushes were killed

    def renew(self, row_bytes: int = 20_000) -> None:
        """Another second version, with bytes that were never sent."""
        if self.new != self.plain:
            shutil.rmtree(self.new)
        self.count += 1
        self.new = enlarged(self.plain, self.place / f"new-{self.count}", self.count, row_bytes=row_bytes)

    def renewed(self) -> None:
        """A Hub without repositories; whatever was asked of the last one has to be a thing that the Hub knows."""
        self.hub.verify()
        self.hub.reset()

    def first(self, repo: str) -> str:
        """Push v1.0.0; its commit."""
        self.client(steps.push, self.old, repo, "v1.0.0")
        return self.hub.dataset(repo).tags["v1.0.0"].sha

    def complete(self, repo: str, before: str | None) -> bool:
        """Whether v1.1.0 is the folder, and v1.0.0 the commit that it was, where there was one."""
        client = self.client
        same = client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(self.new))
        last = self.hub.dataset(repo).tags.get("v1.0.0")
        return same and client(steps.call, "verify", f"{repo}@v1.1.0") == [] and (last and last.sha) == before

    def fault(self, step: str, name: str, times: int | None) -> str:
        """What becomes of a second version while a fault strikes; `–` where nothing of the kind is asked."""
        self.renewed()
        self.renew()
        repo, client = self.hub.repo_id(), self.client
        before = None if step == "create" else self.first(repo)
        rule = self.hub.faults.add(*STEPS[step], FAULTS[name], times=times)
        try:
            client(
                steps.push, self.new, repo, "v1.1.0", backoff=ONCE if times else FOR_EVER,
                timeout=TIMEOUT if isinstance(FAULTS[name], Silence) else 60,
            )  # fmt: skip
            found = "complete"
        except ValueError as error:
            line = str(error).partition("\nin the worker")[0]
            found = "one line" if "\n" not in line and not self.visible(repo) else "BROKEN"
        self.hub.faults.clear()
        if found == "BROKEN":
            return found
        if not rule.hits or (name == "reply cut" and not self.cut()):
            return "–"
        if found == "one line":
            if times and name not in _FINAL and f"{step} {name}" not in _FINAL:
                return "BROKEN"  # it passes by itself, so it has to be waited out
            client(steps.push, self.new, repo, "v1.1.0")
            found = AGAIN
        return found if self.complete(repo, before) else "BROKEN"

    def cut(self) -> bool:
        """Whether any reply had a byte to lose."""
        return any(entry.fault and entry.sent for entry in self.hub.log.select())

    def visible(self, repo: str) -> bool:
        """Whether the second version can be seen."""
        there = self.hub.repositories.get(("datasets", repo))
        return there is not None and "v1.1.0" in there.tags

    def killed(self, count: int, draw: random.Random) -> str:
        """What becomes of so many pushes that are killed while they run, at moments drawn from the time one takes."""
        self.renewed()
        probes = []
        for number in range(3):
            self.renew(kills.ROW_BYTES)
            home, repo = self.place / f"probe-{number}", self.hub.repo_id()
            self.first(repo)
            self.hub.log.clear()
            seconds = kills.seconds_of(self.hub, home, self.new, repo, "v1.1.0", xet=self.xet)
            probes.append((seconds, self.hub.log.uploaded()))
        # Over Xet the last of them sends what is new alone: it has seen what all of them share.
        seconds, whole = min(probes)[0], probes[-1][1]
        ends: Counter[str] = Counter()
        while ends.total() - ends["over before"] < count and ends["over before"] < 2 * count:
            ends[self.kill(1.25 * draw.random() * seconds, whole)] += 1
        late = ends.pop("over before", 0)
        told = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
        return (
            f"Of {ends.total()} pushes killed (SIGKILL) while they ran, at moments drawn from the time that one takes "
            f"({seconds:.2f} s alone): {told} ({late} more were over before). "
            f"Nothing of the {self.there / 1e6:.1f} MB that had been stored when they were killed was sent again."
        )

    def kill(self, after: float, whole: int) -> str:
        """What becomes of a second version whose push is killed so many seconds after it began.

        Args:
            whole: bytes that such a push sends if it is left alone.
        """
        self.renewed()
        self.renew(kills.ROW_BYTES)
        repo = self.hub.repo_id()
        before = self.first(repo)
        known, home = kills.stored(self.hub, repo), Path(tempfile.mkdtemp(dir=self.place))
        over = kills.push_and_kill(self.hub, home, self.new, repo, "v1.1.0", after, xet=self.xet)
        there = kills.stored(self.hub, repo) - known
        self.hub.log.clear()
        kills.seconds_of(self.hub, home, self.new, repo, "v1.1.0", xet=self.xet)
        if not self.complete(repo, before):
            return "BROKEN"
        if over:
            return "over before"
        self.there += there
        return AGAIN if self.hub.log.uploaded() + there <= kills.ROUNDING * whole else "BROKEN"

    def close(self) -> None:
        self.client.close()
        self.hub.close()


def struck(bench: Bench, step: str, faults: Sequence[str]) -> list[list[str]]:
    """Every fault of one step, once and for ever: two rows of the table."""
    with closing(bench):
        rows = []
        for times, often in ((1, "once"), (None, "for ever")):
            rows.append([f"{step}, {often}", *(bench.fault(step, name, times) for name in faults)])
            print(f"{bench.place.name}: " + " | ".join(rows[-1]), flush=True)
        bench.hub.verify()
        return rows


def killed(bench: Bench, count: int, seed: int) -> str:
    """The paragraph about pushes that are killed."""
    with closing(bench):
        told = bench.killed(count, random.Random(seed))
        print(f"{bench.place.name}: {told}", flush=True)
        return told


def folders(place: Path) -> tuple[Path, Path]:
    """Two versions of a small dataset."""
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.workflows import augment as jobs
    from diffcore_hf.workflows import export as export_workflow

    tiny_models.seeded(tiny_models.sd).save_pretrained(place / "sd")
    tiny_models.seeded(tiny_models.save_clip, place / "clip")
    recipe = build_recipe(
        {
            "source": {"path": str(write_photos(place / "photos", [4, 3, 3]))},
            "model": {"path": str(place / "sd"), "steps": 2},
            "filter": {"path": str(place / "clip"), "references": 6, "policy": {"name": "all"}},
            "prompts": {"contexts": ["in snow", "at night"]},
            "output": str(place / "old"),
        }
    )
    jobs.run(recipe, progress=False)
    export_workflow.export(place / "old", place / "new", {"fraction": 0.5})
    return place / "old", place / "new"


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=words, default=(), help="some of the steps alone")
    parser.add_argument("--faults", type=words, default=tuple(FAULTS), help="some of the faults alone")
    parser.add_argument("--kills", type=int, default=30, help="pushes to kill while they run, LFS and Xet each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is to be replaced")
    return parser


def main() -> int:
    """Strike, and write the table."""
    args = make_parser().parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(AT_ONCE) as pool:
        pair = folders(Path(place))

        def bench(way: str, what: str) -> Bench:
            return Bench(way, Path(place) / f"{way}-{what}", *pair)

        # Side by side: most of the time is the clients' own waiting. Kills come after it, for they are timed.
        rows = {
            way: [pool.submit(struck, bench(way, step), step, args.faults) for step in steps_of
                  if not args.steps or step in args.steps]
            for way, steps_of in WAYS.items()
        }  # fmt: skip
        tables = {way: table(["step", *args.faults], [row for job in jobs for row in job.result()])
                  for way, jobs in rows.items()}  # fmt: skip
        told = {way: pool.submit(killed, bench(way, "kills"), args.kills, args.seed) for way in WAYS if args.kills}
        parts = [
            part
            for way, words_for in (("lfs", "Over LFS:"), ("xet", "Over Xet:"))
            for part in (words_for, tables[way], *([told[way].result()] if args.kills else []))
        ]
    broken = "\n".join(parts).count("BROKEN")
    minutes = (time.monotonic() - began) / 60
    intro = (
        "A second version is pushed while one step of the protocol fails. `complete`: the client or we waited it out. "
        "`one more push`: the push ended in one line of error with nothing made visible, and the same command "
        "completed it afterwards. `–`: the step is not asked for. Each time every row and byte of the version "
        "was compared with the folder, and the version before had to be what it was. `create` strikes the first push "
        "of a new repository. `reply cut`: it ends after its first byte. `request cut`: the connection breaks "
        "within the request, or within the reply where a request has no body. `silence`: the connection stands, and "
        "nothing comes."
    )
    text = paragraphs(intro, *parts, f"{minutes:.0f} minutes. "
                      + settings("faults", ("huggingface_hub", "datasets", "hf-xet")))  # fmt: skip
    if args.write:
        write_section(args.write, "Faults of the Hub", text)
    print(f"\n{broken} broken" if broken else "\nnothing broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

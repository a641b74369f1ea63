"""What a push survives: every step x every fault, once and for ever, and kills at random moments.

The whole table, half an hour:  python benchmarks/faults.py --write docs/reliability.md
A few rows:                     python benchmarks/faults.py --steps commit,tag --kills 2

Against the double of the Hub in tests/hub_double, with the real clients, over LFS and over Xet. A fault `once` has to
be waited out by the client or by us; one that lasts has to end in one line with nothing made visible, and one more push
after it has to complete. A killed push has to be completed by one more. Each time the version is read back and compared
with the folder, and no other version may have changed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from report import paragraphs, settings, table, words, write_section

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "models"), str(TESTS / "publishing" / "hub")]

import hub_steps as steps  # noqa: E402
import kills  # noqa: E402
import tiny_models  # noqa: E402
from enlarged import enlarged  # noqa: E402
from hub_double.client import Client  # noqa: E402
from hub_double.double import Double  # noqa: E402
from hub_double.faults import STEPS, Cut, Delay, LostReply, Reset, Status  # noqa: E402
from small_photos import write_photos  # noqa: E402

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
    "cut": Cut(20),
    "silence": Delay(3),  # longer than the clients wait, see `environment` and SILENCE
}
ONCE, FOR_EVER = (0.05, 0.05, 0.05), (0.05,)
SILENCE = 0.5
AGAIN = "one more push"


class Bench:
    """Two folders, and the clients."""

    def __init__(self, hub: Double, place: Path):
        self.hub, self.place = hub, place
        self.clients = {way: Client(hub, place / f"home-{way}", xet=way == "xet", timeout=600) for way in WAYS}
        self.old, self.plain = folders(place)
        self.new, self.count = self.plain, 0

    def renew(self) -> None:
        """Another second version, of bytes that were never sent."""
        if self.new != self.plain:
            shutil.rmtree(self.new)
        self.count += 1
        self.new = enlarged(self.plain, self.place / f"new-{self.count}", self.count)

    def first(self, way: str, repo: str) -> str:
        """Push v1.0.0; its commit."""
        self.clients[way](steps.push, self.old, repo, "v1.0.0")
        return self.hub.dataset(repo).tags["v1.0.0"].sha

    def complete(self, way: str, repo: str, before: str | None) -> bool:
        """Whether v1.1.0 is the folder, and v1.0.0 the commit that it was, where there was one."""
        client = self.clients[way]
        same = client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(self.new))
        last = self.hub.dataset(repo).tags.get("v1.0.0")
        return same and client(steps.call, "verify", f"{repo}@v1.1.0") == [] and (last and last.sha) == before

    def fault(self, way: str, step: str, name: str, times: int | None) -> str:
        """What becomes of a second version while a fault strikes; `–` where nothing of the kind is asked."""
        self.hub.reset()
        self.renew()
        repo, client = self.hub.repo_id(), self.clients[way]
        before = None if step == "create" else self.first(way, repo)
        rule = self.hub.faults.add(*STEPS[step], FAULTS[name], times=times)
        try:
            client(
                steps.push, self.new, repo, "v1.1.0", waits=ONCE if times else FOR_EVER,
                silence=SILENCE if isinstance(FAULTS[name], Delay) else 60,
            )  # fmt: skip
            found = "complete"
        except ValueError as error:
            line = str(error).partition("\nin the worker")[0]
            found = "one line" if "\n" not in line and not self.visible(repo) else "BROKEN"
        self.hub.faults.clear()
        if not rule.hits:
            return "–"
        if found == "one line":
            client(steps.push, self.new, repo, "v1.1.0")
            found = AGAIN
        return found if self.complete(way, repo, before) else "BROKEN"

    def visible(self, repo: str) -> bool:
        """Whether the second version can be seen."""
        there = self.hub.repositories.get(("datasets", repo))
        return there is not None and "v1.1.0" in there.tags

    def killed(self, way: str, count: int, draw: random.Random) -> str:
        """What becomes of pushes that are killed at moments drawn from the time that one takes."""
        seconds = min(
            kills.seconds_of(self.hub, self.place / f"{way}-{number}", self.new, self.hub.repo_id(), "v1.0.0",
                             xet=way == "xet")
            for number in range(3)
        )  # fmt: skip
        self.there = self.again = 0
        ends = Counter(self.kill(way, draw.random(), seconds) for _ in range(count))
        told = ", ".join(f"{number} {end}" for end, number in sorted(ends.items()))
        return (
            f"Of {count} pushes killed (SIGKILL) at moments drawn from the {seconds:.2f} s that one takes: {told}. Of "
            f"{self.there} objects that had been stored when the push was killed, {self.again} were sent again."
        )

    def kill(self, way: str, share: float, seconds: float) -> str:
        """What becomes of a second version whose push is killed."""
        self.hub.reset()
        self.renew()
        repo, xet = self.hub.repo_id(), way == "xet"
        before = self.first(way, repo)
        known, home = kills.stored(self.hub, repo), Path(tempfile.mkdtemp(dir=self.place))
        over = kills.push_and_kill(self.hub, home, self.new, repo, "v1.1.0", share * seconds, xet=xet)
        there = kills.stored(self.hub, repo) - known
        self.hub.log.clear()
        kills.seconds_of(self.hub, home, self.new, repo, "v1.1.0", xet=xet)
        self.there += len(there)
        self.again += len(there & kills.sent(self.hub))
        return (AGAIN if not over else "over before") if self.complete(way, repo, before) else "BROKEN"


def folders(place: Path) -> tuple[Path, Path]:
    """Two versions of a small dataset."""
    from diffcore_hf import jobs
    from diffcore_hf.core.layers import build_recipe

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
    jobs.export(place / "old", place / "new", {"fraction": 0.5})
    return place / "old", place / "new"


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=words, default=(), help="some of the steps alone")
    parser.add_argument("--faults", type=words, default=tuple(FAULTS), help="some of the faults alone")
    parser.add_argument("--kills", type=int, default=30, help="kills, over LFS and over Xet each")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--write", type=Path, help="Markdown file whose section is to be replaced")
    return parser


def main() -> int:
    """Strike, and write the table."""
    args = make_parser().parse_args()
    broken, parts, began = 0, [], time.monotonic()
    with tempfile.TemporaryDirectory() as place, Double() as hub:
        bench = Bench(hub, Path(place))
        for way, known in WAYS.items():
            rows = []
            for step in [name for name in known if not args.steps or name in args.steps]:
                for times, often in ((1, "once"), (None, "for ever")):
                    found = [bench.fault(way, step, name, times) for name in args.faults]
                    rows.append([f"{step}, {often}", *found])
                    broken += found.count("BROKEN")
                    print(" | ".join(rows[-1]), flush=True)
            parts += [f"Over {'LFS' if way == 'lfs' else 'Xet'}:", table(["step", *args.faults], rows)]
            if args.kills:
                parts.append(bench.killed(way, args.kills, random.Random(args.seed)))
                broken += "BROKEN" in parts[-1]
                print(parts[-1], flush=True)
        for client in bench.clients.values():
            client.close()
    minutes = (time.monotonic() - began) / 60
    intro = (
        "A second version is pushed while one step of the protocol fails. `complete`: the client or we waited it out. "
        "`one more push`: the push ended in one line of error with nothing made visible, and the same command "
        "completed it afterwards. `–`: the step is not asked for. Each time every row and byte of the version "
        "was compared with the folder, and the version before had to be what it was. `create` strikes the first push "
        "of a new repository. `silence`: the connection stands, and nothing comes."
    )
    text = paragraphs(intro, *parts, f"{minutes:.0f} minutes. "
                      + settings("faults.py", ("huggingface_hub", "datasets", "hf-xet")))  # fmt: skip
    if args.write:
        write_section(args.write, "Faults of the Hub", text)
    print(f"\n{broken} broken" if broken else "\nnothing broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

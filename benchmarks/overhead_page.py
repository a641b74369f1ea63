"""The table of the overhead of mixing: rows of stored cells, the goals, and the figures of the paper.

Owns the text of the section in docs/performance.md. The cells are measured in overhead_cells.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from benchmarks.overhead_cells import PLAIN, overheads
from benchmarks.overhead_parts import PARTS
from benchmarks.report import paragraphs, table
from diffcore_hf.training.mixers.names import MIXERS

TITLE = "What each mixer costs a training step"
NETWORKS = ("resnet50", "vit_small_patch16_224")
BATCHES = (16, 32, 64)
VARIANTS = {"guidedmixup_ap": ("guidedmixup_ap_greedy",), "attentive_cutmix": ("attentive_cutmix_row",)}
"""More arms with the same mixer and other options."""
ARMS = (PLAIN, "mix", *chain.from_iterable((mixer, *VARIANTS.get(mixer, ())) for mixer in MIXERS))
HEAD = ("arm", "batch", "A_O, step", "A_O with loader", *PARTS, "peak memory", "goal", "paper")

EXPLANATION = (
    "A_O = (T_aug - T_van) / T_van (Eq. 9), in percent. `A_O, step` is for a step whose batch is loaded, and `A_O "
    "with loader` includes the loading. Plain steps and steps of the arm alternate, with the same network. The "
    "figure is the ratio of the medians. The lowest and the highest ratio of two neighbouring steps are in "
    "parentheses. Arm `plain` compares plain steps with plain steps, so its range shows how exact the figures are. "
    "Arm `mix` mixes every image with its own generated image in the loader. Arm `attentive_cutmix_row` has one "
    "forward pass of each row before the first step, which is not timed. `mixer alone` is the time of the mixer "
    "without the training step, compared with the median plain step of all cells with the same network and batch "
    "size. For a mixer that does its work before the forward pass this is A_O, without the noise of whole steps.",
    "The next columns give the time of the parts of a mixer in percent of a plain step: `saliency` includes all passes "
    "through a network, `pairing` the random draws and the choice of partners, `cut` the optimisation of the masks, "
    "and `copy` everything else that the mixer does before the forward pass. Work during the forward pass or in "
    "the loss is not counted in any part.",
    "Column `peak memory` is the largest memory of the process that measured the row, and in parentheses the "
    "difference to the plain arm with the same batch size. A gradient with respect to the images stores as many "
    "activations as a training step (5.5 GB for ResNet-50 with 64 images of 224 pixels). They are released before the "
    "step, so the two amounts of memory are not added.",
    "Column `goal` is the largest `A_O, step` in percent that this project accepts, and whether it was reached. `90 + "
    "cut 20` means at most 90 without the part `cut`, and at most 20 for this part. Column `paper` has the figures of "
    "Table 6 of the paper, which were measured on a GPU with other code. The published code of GuidedMixup runs two "
    "forward passes in its plain arm too, so its published percentages are relative to a slower step.",
)

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Goal:
    """The largest A_O of the step alone, in percent."""

    cpu: float
    gpu: float
    cut: float | None = None
    """Largest time of the cut in percent of a plain step. If it is given, the other limits do not include the cut."""

    def largest(self, device: str) -> float:
        """Returns the limit for a device."""
        return self.cpu if device == "cpu" else self.gpu


GOALS: dict[str, Goal] = {
    **dict.fromkeys(("resizemix", "smoothmix", "manifold_mixup", "transmix"), Goal(3, 3)),
    **dict.fromkeys(("saliencymix", "guidedmixup_sr"), Goal(10, 3)),
    "snapmix": Goal(40, 40),
    **dict.fromkeys(("guidedmixup_ap", "guidedmixup_ap_greedy"), Goal(90, 90)),
    "puzzlemix": Goal(90, 90, cut=20),
}
PAPER: dict[str, tuple[float, float, float]] = {
    "mix": (68.2, 59.3, 58.9),
    "mixup": (0.9, 0.6, 0.4),
    "cutmix": (1.5, 1.0, 0.6),
    "saliencymix": (353, 702, 923),
    "snapmix": (67.4, 64.9, 60.2),
    "guidedmixup_ap": (87.8, 81.9, 70.1),
    "guidedmixup_ap_greedy": (89.2, 83.0, 77.5),
    "puzzlemix": (138.5, 139.9, 134.1),
    "comixup": (292, 490, 717),
}
"""A_O in percent at batch 16, 32 and 64 (Table 6 of the DiffCoRe-Mix paper)."""
BOUNDED = ("puzzlemix", "comixup")
"""Arms whose peak memory has a bound, with resnet50 at 224 pixels and batch 64."""
BOUND = 24e9
"""Largest peak memory in bytes that this project accepts for these arms."""


def page(results: Sequence[Result], networks: Sequence[str] = NETWORKS, batches: Sequence[int] = BATCHES) -> str:
    """Returns the text of the section for all results.

    Args:
        results: stored results.
        networks: networks whose missing cells are listed.
        batches: batch sizes whose missing cells are listed.
    """
    if not results:
        return "No cell is measured yet."
    groups: dict[tuple[str, str, int], list[Result]] = {}
    for result in results:
        groups.setdefault((result["device"], result["network"], result["size"]), []).append(result)
    blocks = []
    for (device, network, size), members in sorted(groups.items()):
        members = sorted(members, key=_order)
        plain = {result["batch"]: result for result in members if result["arm"] == PLAIN and result.get("peak")}
        blocks.append(f"### {network} at {size} pixels, {_device_of(members, device)}")
        rows = [row(each, plain_times(each, results), plain.get(each["batch"])) for each in members]
        blocks.append(table(HEAD, rows))
        blocks.append(_missing(members, network in networks, batches))
    blocks += [*EXPLANATION, _goals(results), memory_bound(results), _repeats(results), _settings(results)]
    return "\n\n".join(block if block.startswith("###") else paragraphs(block) for block in blocks if block)


class PlainTimes(NamedTuple):
    """Median seconds of the plain arm."""

    step: float
    load: float


def plain_times(result: Result, results: Sequence[Result]) -> PlainTimes | None:
    """Returns the times of the plain steps that a result is compared with; None if there are none.

    These are its own plain steps. The result of a mixer alone is compared with the plain steps of all results with the
    same network, batch size, image size, device and numbers of threads and loader processes.
    """
    keys = ("network", "batch", "size", "device", "threads", "workers")
    alike = [each for each in results if "seconds" in each and all(each[key] == result[key] for key in keys)]
    compared = [result] if result.get("seconds", {}).get("plain") else alike
    steps, loads = ([time for each in compared for time in each["seconds"][name]] for name in ("plain", "plain_load"))
    return PlainTimes(statistics.median(steps), statistics.median(loads)) if steps else None


def row(result: Result, times: PlainTimes | None, plain: Result | None = None) -> list[str]:
    """Returns the cells of one row.

    Args:
        result: result of the cell.
        times: times of the plain arm; None: unknown.
        plain: result of the plain arm with the same network and batch size, for the difference of the peak memory.
    """
    name, batch = f"`{result['arm']}`", str(result["batch"])
    if "reason" in result:
        return [name, batch, "not possible: " + result["reason"].replace("|", "\\|"), *[""] * (len(HEAD) - 3)]
    shares = part_shares(result, times)
    parts = [f"{shares[part]:.1f}" if shares.get("mixer") else "" for part in PARTS]
    last = [_memory(result, plain), _goal(result, times), _paper(result)]
    return [name, batch, *_figures(result["seconds"], shares, times), *parts, *last]


def _figures(seconds: Mapping[str, list[float]], shares: Mapping[str, float], times: PlainTimes | None) -> list[str]:
    """Returns the cells with A_O of the step alone, and with its loader."""
    if seconds["arm"]:
        plain, arm = (
            [sum(pair) for pair in zip(seconds[name], seconds[f"{name}_load"], strict=True)]
            for name in ("plain", "arm")
        )
        each = (overheads(seconds["plain"], seconds["arm"]), overheads(plain, arm))
        return ["{:.1f} ({:.1f} to {:.1f})".format(*figures) for figures in each]
    if times is None or not shares:
        return ["not measured", ""]
    mixer = shares["mixer"] / 100 * times.step
    more = mixer + statistics.median(seconds["arm_load"] or [times.load]) - times.load
    return [f"{shares['mixer']:.1f} (mixer alone)", f"{100 * more / sum(times):.1f} (mixer alone)"]


def part_shares(result: Result, times: PlainTimes | None) -> dict[str, float]:
    """Returns the time of a mixer and of its parts, in percent of a plain step; empty if they are not known."""
    if times is None or not result["parts"]["mixer"]:
        return {}
    return {name: 100 * statistics.median(values) / times.step for name, values in result["parts"].items()}


def verdict(result: Result, times: PlainTimes | None) -> str:
    """Returns whether a cell reaches its goal: `reached`, `within the range` or `not reached`; empty if unknown.

    `within the range` means that the ratio of the medians is above the goal, but the lowest ratio of a round is not.
    """
    goal = GOALS.get(result["arm"])
    if goal is None or "reason" in result:
        return ""
    shares, seconds = part_shares(result, times), result["seconds"]
    if not shares:
        return ""
    middle = low = shares["mixer"]
    if seconds["arm"]:
        middle, low, _ = overheads(seconds["plain"], seconds["arm"])
    cut = 0.0 if goal.cut is None else shares["cut"]
    limit = goal.largest(result["device"]) + cut
    if low > limit or (goal.cut is not None and cut > goal.cut):
        return "not reached"
    return "reached" if middle <= limit else "within the range"


def _order(result: Result) -> tuple[int, int]:
    arm = result["arm"]
    return (ARMS.index(arm) if arm in ARMS else len(ARMS), result["batch"])


def _device_of(results: Sequence[Result], device: str) -> str:
    names = {result["device_name"] for result in results if "device_name" in result}
    return " and ".join(sorted(names)) if device != "cpu" and names else device.upper()


def _memory(result: Result, plain: Result | None) -> str:
    if not result["peak"]:
        return ""
    memory = f"{result['peak'] / 1e9:.2f} GB"
    if plain is None or result["arm"] == PLAIN:
        return memory
    return f"{memory} ({(result['peak'] - plain['peak']) / 1e9:+.2f})"


def _goal(result: Result, times: PlainTimes | None) -> str:
    goal = GOALS.get(result["arm"])
    if goal is None:
        return ""
    limit = f"{goal.largest(result['device']):.0f}" + ("" if goal.cut is None else f" + cut {goal.cut:.0f}")
    return ": ".join(filter(None, [limit, verdict(result, times)]))


def _paper(result: Result) -> str:
    figures = PAPER.get(result["arm"])
    return f"{figures[BATCHES.index(result['batch'])]}" if figures and result["batch"] in BATCHES else ""


def _missing(results: Sequence[Result], complete: bool, batches: Sequence[int]) -> str:
    """Returns a sentence with the cells that are not measured; empty if there are none."""
    if not complete:
        return ""
    timed = {(each["batch"], each["arm"]) for each in results if "reason" in each or each["parts"]["mixer"]}
    parts = []
    for batch in batches:
        missing = [arm for arm in ARMS if (batch, arm) not in timed]
        if missing:
            names = "all arms" if len(missing) == len(ARMS) else ", ".join(f"`{arm}`" for arm in missing)
            parts.append(f"batch {batch}: {names}")
    return f"Times that are not measured: {'; '.join(parts)}." if parts else ""


def _goals(results: Sequence[Result]) -> str:
    compared = [(each, plain_times(each, results)) for each in sorted(results, key=_order)]
    missed = [
        f"`{each['arm']}` with {each['network']} at batch {each['batch']} ({each['device']}): "
        + ", ".join(f"{part} {part_shares(each, times)[part]:.1f} %" for part in PARTS)
        for each, times in compared
        if verdict(each, times) == "not reached"
    ]
    if not missed:
        return "No measured time misses its goal."
    return "Goals that were not reached, with the time of each part: " + "; ".join(missed) + "."


def memory_bound(results: Sequence[Result]) -> str:
    """Returns sentences that compare the peak memory of the arms in BOUNDED with the bound; empty if none is known.

    Args:
        results: stored results.
    """
    conditions = {"network": "resnet50", "size": 224, "batch": 64}
    known = [
        each
        for each in sorted(results, key=_order)
        if each["arm"] in BOUNDED and each.get("peak") and all(each[key] == value for key, value in conditions.items())
    ]
    if not known:
        return ""
    measured = ", ".join(f"`{each['arm']}` {each['peak'] / 1e9:.2f} GB ({each['device']})" for each in known)
    above = [f"`{each['arm']}` ({each['device']})" for each in known if each["peak"] > BOUND]
    verdict = f"Above the bound: {', '.join(above)}." if above else "No measured memory is above the bound."
    arms = " and ".join(f"`{arm}`" for arm in BOUNDED)
    return (
        f"This project accepts a peak memory of at most {BOUND / 1e9:.0f} GB for {arms} with resnet50, 64 images and "
        f"224 pixels. Measured: {measured}. {verdict}"
    )


def _repeats(results: Sequence[Result]) -> str:
    """Returns sentences with the number of measurements in each kind of row; kinds without a row are left out."""
    kinds: dict[str, set[int]] = {"steps": set(), "mixer": set(), "memory": set()}
    for result in results:
        if "reason" in result:
            continue
        steps, mixed = len(result["seconds"]["arm"]), len(result["parts"]["mixer"])
        if steps or mixed:
            kinds["steps" if steps else "mixer"].add(steps or mixed)
        else:
            kinds["memory"].add(0)
    sentences = {
        "steps": f"A row with a range is measured with {_one_of(kinds['steps'])} plain steps and as many steps of the "
        "arm, after one step that is not timed.",
        "mixer": f"A mixer alone is measured with {_one_of(kinds['mixer'])} mixed batches, after one batch that is not "
        "timed.",
        "memory": "A row that has a peak memory and no times is measured with one training step of the arm.",
    }
    return " ".join(text for kind, text in sentences.items() if kinds[kind])


def _one_of(numbers: Iterable[int]) -> str:
    return " or ".join(str(number) for number in sorted(set(numbers)))


def _settings(results: Sequence[Result]) -> str:
    made = [result["made"] for result in results]
    days = sorted({each["date"] for each in made})
    shown = " and ".join(filter(None, [days[0], days[-1] if len(days) > 1 else ""]))
    last = max(made, key=lambda each: each["date"])
    threads, workers = ({result[key] for result in results} for key in ("threads", "workers"))
    return (
        "The networks have random weights, and the training uses preset `paper`. Number of CPU threads: "
        f"{_one_of(threads)}. Number of loader processes: {_one_of(workers)}. With one thread and no loader process, a "
        "time is the CPU time of the process, because other processes of the machine change it less than the elapsed "
        "time. On a GPU, it is the elapsed time until the device has finished. "
        f"Measured on {shown} by `python -m benchmarks.overhead`: {last['cores']} cores, Python {last['python']}, "
        + ", ".join(f"{name} {last[name]}" for name in ("torch", "torchvision", "timm"))
        + "."
    )

"""Tests of the overhead benchmark: its figures, its rows, and a tiny measurement whose values are not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmarks import overhead, overhead_cells, overhead_page, photos
from benchmarks.overhead_cells import CellSettings
from benchmarks.overhead_page import PlainTimes
from benchmarks.overhead_parts import PARTS, PartTimer
from diffcore_hf.training.mixers.names import MIXERS

ROOT = Path(__file__).parents[1]
TINY = ("--networks", "test_resnet", "--batches", "4", "--size", "32", "--repeats", "2", "--pairs", "20")


def result(
    arm: str = "mixup", *, batch: int = 16, plain: float = 2.0, times: tuple[float, ...] = (3.0,), **keys
) -> dict:
    """Returns a stored result in which every plain step and every loading takes the same time."""
    count = len(times)
    parts = dict.fromkeys(("mixer", *PARTS), [0.0] * count) | keys.pop("parts", {})
    seconds = {"plain": [plain] * count, "arm": list(times), "plain_load": [1.0] * count, "arm_load": [1.0] * count}
    figures = {"seconds": seconds, "parts": parts, "peak": 2_000_000_000, "device_name": "x86_64"}
    return overhead_cells.complete(CellSettings(arm, "resnet50", batch), figures) | keys


def test_the_overhead_is_the_ratio_of_medians_with_the_range_of_the_rounds():
    assert overhead_cells.overheads([1.0, 2.0, 4.0], [1.5, 3.0, 4.0]) == pytest.approx((50, 0, 50))


def test_a_row_has_both_overheads_the_parts_of_the_time_the_memory_the_goal_and_the_paper_value():
    seconds = {"mixer": [1.0], "saliency": [0.5], "pairing": [0.1], "cut": [0.3], "copy": [0.1]}
    cells = overhead_page.row(
        result("puzzlemix", parts=seconds), PlainTimes(2.0, 1.0), result("plain", peak=1_500_000_000)
    )
    assert cells == [
        *("`puzzlemix`", "16", "50.0 (50.0 to 50.0)", "33.3 (33.3 to 33.3)"),
        *("25.0", "5.0", "15.0", "5.0", "2.00 GB (+0.50)", "90 + cut 20: reached", "138.5"),
    ]


def test_every_row_has_as_many_cells_as_the_head():
    rows = [
        result("plain"),
        result("mixup", times=()),
        {**result(), "reason": "no | memory"},
        result("smoothmix", times=(2.0, 2.1)),
    ]
    for each in rows:
        assert len(overhead_page.row(each, PlainTimes(2.0, 1.0))) == len(overhead_page.HEAD)
    assert overhead_page.row(rows[2], None)[2] == r"not possible: no \| memory"


@pytest.mark.parametrize(
    ("arm", "times", "cut", "expected"),
    [
        ("mixup", (9.0, 9.0), 0.0, ""),
        ("smoothmix", (2.0, 2.08), 0.0, "reached"),
        ("smoothmix", (2.04, 2.2), 0.0, "within the range"),
        ("smoothmix", (2.2, 2.2), 0.0, "not reached"),
        ("puzzlemix", (4.0, 4.0), 0.2, "reached"),
        ("puzzlemix", (4.0, 4.0), 0.1, "not reached"),
        ("puzzlemix", (3.0, 3.0), 0.5, "not reached"),
    ],
)
def test_a_goal_is_compared_with_the_time_of_the_step(arm, times, cut, expected):
    assert overhead_page.verdict(result(arm, times=times, parts={"cut": [cut, cut]}), PlainTimes(2.0, 1.0)) == expected


def test_a_mixer_alone_is_compared_with_the_plain_steps_of_other_cells():
    parts = {part: [0.0] for part in PARTS} | {"mixer": [0.2], "saliency": [0.1]}
    alone = result("saliencymix", times=(), parts=parts, peak=None)
    others = [result("plain", plain=4.0), result("mixup", plain=4.0), result("mixup", plain=9.0, batch=32)]
    assert overhead_page.plain_times(alone, [alone, *others]) == (4.0, 1.0)
    assert overhead_page.plain_times(alone, [alone]) is None
    alone["seconds"]["arm_load"] = [1.8]
    assert overhead_page.row(alone, PlainTimes(4.0, 1.0)) == [
        *("`saliencymix`", "16", "5.0 (mixer alone)", "20.0 (mixer alone)"),
        *("2.5", "0.0", "0.0", "0.0", "", "10: reached", "353"),
    ]


def test_the_page_names_cells_that_are_not_measured_and_goals_that_are_missed():
    text = " ".join(
        overhead_page.page([result("plain"), result("snapmix"), result("mixup", batch=32, times=())]).split()
    )
    assert "### resnet50 at 224 pixels, CPU" in text
    assert "batch 16: `mix`, `mixup`" in text and "batch 32: all arms; batch 64: all arms." in text
    assert "Goals that were not reached, with the time of each part: `snapmix` with resnet50 at batch 16 (cpu)" in text
    assert "No cell is measured yet." in overhead_page.page([])


STEPS = "with 2 plain steps and as many steps of the arm"
ALONE = "with 3 mixed batches"
MEMORY = "no times is measured with one training step of the arm"


@pytest.mark.parametrize(
    ("kinds", "sentences"),
    [
        (("steps",), (STEPS,)),
        (("alone",), (ALONE,)),
        (("memory",), (MEMORY,)),
        (("reason",), ()),
        (("steps", "alone", "memory", "reason"), (STEPS, ALONE, MEMORY)),
    ],
)
def test_the_page_gives_the_number_of_measurements_of_each_kind_of_row(kinds, sentences):
    results = {
        "steps": result(times=(3.0, 3.0)),
        "alone": result("snapmix", times=(), parts=dict.fromkeys(("mixer", *PARTS), [0.1] * 3)),
        "memory": result("plain", times=()),
        "reason": {**result("transmix"), "reason": "no class token"},
    }
    text = " ".join(overhead_page.page([results[kind] for kind in kinds]).split())
    assert tuple(each for each in (STEPS, ALONE, MEMORY) if each in text) == sentences


@pytest.mark.parametrize(
    ("peaks", "sentence"),
    [
        ({}, ""),
        ({"puzzlemix": 24e9}, "Measured: `puzzlemix` 24.00 GB (cpu). No measured memory is above the bound."),
        (
            {"comixup": 25e9, "puzzlemix": 6.8e9},
            "Measured: `puzzlemix` 6.80 GB (cpu), `comixup` 25.00 GB (cpu). Above the bound: `comixup` (cpu).",
        ),
    ],
)
def test_the_peak_memory_at_batch_64_is_compared_with_its_bound(peaks, sentence):
    others = [
        result("puzzlemix", peak=30e9),
        result("plain", batch=64, peak=30e9),
        {**result("comixup", batch=64), "peak": None},
    ]
    text = overhead_page.memory_bound([*others, *(result(arm, batch=64, peak=peak) for arm, peak in peaks.items())])
    assert text.endswith(sentence) and bool(text) == bool(sentence)


def test_every_mixer_is_an_arm_of_the_table_and_every_goal_and_figure_belongs_to_an_arm():
    assert set(MIXERS) <= set(overhead_page.ARMS)
    assert set(overhead_page.GOALS) | set(overhead_page.PAPER) <= set(overhead_page.ARMS)


def test_a_part_inside_another_part_belongs_to_the_outer_part():
    times = iter(range(100))
    timer = PartTimer(lambda: float(next(times)))
    inner = timer.timed("cut", lambda: None)
    timer.timed("mixer", lambda: (timer.timed("saliency", inner)(), inner()))()
    assert timer.take() == {"mixer": 5.0, "saliency": 1.0, "pairing": 0.0, "cut": 1.0, "copy": 3.0}
    assert timer.take()["mixer"] == 0.0


@pytest.fixture
def tiny_measurement(monkeypatch):
    """Uses small images, and restores the number of threads, because a measurement in this process uses one."""
    monkeypatch.setattr(photos, "REAL", (40, 50))
    monkeypatch.setattr(photos, "GENERATED", (48, 48))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_cells_are_measured_once_and_become_rows_of_the_page(tmp_path, capsys, tiny_measurement):
    folder, written = tmp_path / "results", tmp_path / "performance.md"
    written.write_text("# Performance\n\n## Another\n\nstays\n", encoding="utf-8")
    options = [*TINY, "--arms", "plain,snapmix,puzzlemix,augmix,transmix", "--folder", str(folder)]
    overhead.main([*options, "--write", str(written)], overhead_cells.measured)
    shown = capsys.readouterr().out
    for arm in ("plain", "snapmix", "puzzlemix", "augmix"):
        assert f"| `{arm}` | 4 |" in shown
    assert "| `transmix` | 4 | not possible: mixer.name is transmix, but this network" in shown
    stored = json.loads((folder / "cpu" / "test_resnet-32" / "4" / "puzzlemix.json").read_text(encoding="utf-8"))
    parts = {name: values[-1] for name, values in stored["parts"].items()}
    assert all(parts[name] > 0 for name in PARTS)
    assert parts["mixer"] == pytest.approx(sum(parts[name] for name in PARTS))
    assert stored["repeats"] == 2 and len(stored["seconds"]["arm"]) == 2 and stored["peak"] > 0
    page = written.read_text(encoding="utf-8")
    assert page.startswith(f"# Performance\n\n## Another\n\nstays\n\n## {overhead_page.TITLE}\n\n### test_resnet at 32")
    assert str(tmp_path) not in page

    overhead.main([*options, "--arms", "mixup", "--mixer-only"], overhead_cells.measured)
    assert "(mixer alone) |" in capsys.readouterr().out

    due = []
    overhead.main(options, lambda cell: due.append(cell.arm) or {"reason": "again"})
    assert due == ["transmix"]


def test_unknown_names_give_rows_with_a_reason_that_are_not_stored(tmp_path, capsys, tiny_measurement):
    options = [*TINY, "--folder", str(tmp_path)]
    overhead.main([*options, "--arms", "mixupp"], overhead_cells.measured)
    assert "--arms has 'mixupp', which is not an arm. Did you mean mixup?" in capsys.readouterr().out
    overhead.main([*options, "--arms", "mixup", "--device", "gpu0"], overhead_cells.measured)
    assert "--device is 'gpu0', which is not a device of this machine. Use --device cpu" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.json"))


def fake(cell: CellSettings) -> dict:
    """Returns an invented result of a cell in the form of a measurement."""
    times = [] if cell.mixer_only else [1.0] * cell.repeats
    seconds = {"plain": times, "arm": times, "plain_load": times, "arm_load": times}
    parts = dict.fromkeys(("mixer", *PARTS), [0.1] * cell.repeats)
    return {"seconds": seconds, "parts": parts, "peak": None if cell.mixer_only else 10**9, "device_name": "x"}


def test_the_cheapest_cells_are_measured_first_and_an_interrupted_run_continues(tmp_path, capsys, tiny_measurement):
    options = [*TINY[:2], "--batches", "32,16", "--arms", "puzzlemix,mixup", "--pairs", "20", "--folder", str(tmp_path)]
    order = []

    def stopped_at_the_third(cell: CellSettings) -> dict:
        if len(order) == 2:
            raise KeyboardInterrupt
        order.append(f"{cell.batch}/{cell.arm}")
        return fake(cell)

    overhead.main([*options, "--list"])
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split()[2:] == ["due", "cpu/test_resnet-224/16/mixup"]
    assert "4 of 4 cells are not measured. They take about" in shown and not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="The finished cells are stored, and the same command continues"):
        overhead.main(options, stopped_at_the_third)
    assert order == ["16/mixup", "16/puzzlemix"]
    capsys.readouterr()
    overhead.main([*options, "--list"])
    assert "2 of 4 cells are not measured" in capsys.readouterr().out
    rest: list[str] = []
    overhead.main(options, lambda cell: (rest.append(f"{cell.batch}/{cell.arm}"), fake(cell))[1])
    assert rest == ["32/mixup", "32/puzzlemix"]


def test_memory_and_times_that_are_measured_one_after_the_other_are_kept(tmp_path):
    """A cell of the mixer alone has no peak memory, and a cell without repeats has no times. Whole steps have both."""
    alone, memory = (CellSettings("mixup", "resnet50", 16, repeats=n, mixer_only=n > 0) for n in (3, 0))
    steps = CellSettings("mixup", "resnet50", 16, repeats=2)
    for cell, due in ((alone, memory), (memory, steps)):
        overhead_cells.store(tmp_path, cell, fake(cell))
        assert overhead_cells.is_measured(tmp_path, cell) and not overhead_cells.is_measured(tmp_path, due)
    stored = overhead_cells.stored_result(tmp_path, memory)
    assert stored["peak"] == 10**9 and stored["parts"]["mixer"] == [0.1] * 3
    overhead_cells.store(tmp_path, steps, fake(steps))
    assert all(overhead_cells.is_measured(tmp_path, cell) for cell in (alone, memory, steps))


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_an_out_of_memory_error_is_stored_as_the_reason_of_a_cell(error):
    with mock.patch.object(overhead_cells, "_measured", side_effect=error):
        assert overhead_cells.measured(CellSettings("mixup", "resnet50", 64))["reason"].startswith("out of memory")


@pytest.mark.parametrize(
    ("status", "stderr", "reason"),
    [
        (-9, "", "signal 9 ended the process, usually because memory ran out"),
        (1, "Traceback ...\nValueError: bad\n", "ValueError: bad"),
        (3, "", "the process ended with status 3"),
    ],
)
def test_a_failed_process_gives_the_reason_of_a_cell(status, stderr, reason):
    ended = subprocess.CompletedProcess([], status, "", stderr)
    with mock.patch.object(subprocess, "run", return_value=ended):
        assert overhead_cells.measured_in_a_process(CellSettings("mixup", "resnet50", 64)) == {"reason": reason}


@pytest.mark.parametrize("command", [["-m", "benchmarks.overhead"], [str(ROOT / "benchmarks" / "overhead.py")]])
def test_both_commands_show_the_help(command, tmp_path):
    folder = ROOT if command[0] == "-m" else tmp_path
    shown = subprocess.run([sys.executable, *command, "--help"], cwd=folder, capture_output=True, text=True, check=True)
    assert "--page --write docs/performance.md" in shown.stdout and "guidedmixup_ap_greedy" in shown.stdout


@pytest.mark.slow
def test_each_cell_is_measured_in_another_process(tmp_path, capsys):
    overhead.main([*TINY, "--arms", "resizemix", "--repeats", "0", "--folder", str(tmp_path)])
    assert "| `resizemix` | 4 | not measured |" in capsys.readouterr().out

"""Tests that run the benchmarks with the smallest settings. The measured values are not tested."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks import photos, report

TINY = ("--pairs", "20", "--rounds", "1")


@pytest.mark.parametrize(
    "script, settings, rows",
    [
        (
            "mixing",
            ("--batches", "4,8", "--loading", "0,memory", "--model", "test_resnet", "--size", "32"),
            ["| 4 | 0 | 2 |", "| 8 | 0 | 1 |", "| 4 | memory | 2 |", "| 8 | memory | 1 |"],
        ),
        ("loading", ("--batch", "4", "--steps", "1", "--workers", "0"), ["| pairs | 0 |", "| images | 0 |"]),
    ],
)
def test_a_benchmark_prints_its_table_and_writes_its_section(tmp_path, capsys, script, settings, rows):
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nBy make bench.\n\n## Another\n\nstays\n", encoding="utf-8")
    module = importlib.import_module(f"benchmarks.{script}")
    module.main([*TINY, *settings, "--write", str(page)])
    printed, written = capsys.readouterr().out, page.read_text(encoding="utf-8")
    for row in rows:
        assert row in printed and row in written
    told = " ".join(written.split())
    assert f"`python -m benchmarks.{script}`" in told and "20 pairs" in told
    assert written.startswith(f"# Performance\n\nBy make bench.\n\n## Another\n\nstays\n\n## {module.TITLE}\n\n| ")
    assert str(tmp_path) not in written


def test_writing_a_section_keeps_the_other_sections(tmp_path):
    page = tmp_path / "page.md"
    for title, text in (("One", "1"), ("Two", "2"), ("One", "1 again")):
        report.write_section(page, title, text)
    assert page.read_text(encoding="utf-8") == "# Page\n\n## One\n\n1 again\n\n## Two\n\n2\n"


def test_benchmark_pairs_have_the_unchanged_bytes_of_the_given_dataset(tmp_path):
    from datasets import load_dataset
    from small_photos import write_photos

    from diffcore_hf.core.dataset_columns import undecoded

    source = write_photos(tmp_path / "photos", [20, 20])
    with photos.stored_pairs(30, str(source)) as (folder, what):
        rows = undecoded(load_dataset(str(folder), split="train"), "image", "generated")
        found = {cell["bytes"] for name in ("image", "generated") for cell in rows[name]}
        assert len(rows) == 20 and what.startswith("20 pairs of photos")
    assert found == {path.read_bytes() for path in source.rglob("*.*")}


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ({"next push": 30}, "The result was `next push` in all 30 cases."),
        (
            {"next push": 29, "BROKEN": 1},
            "The results were `BROKEN` for 1 of 30 pushes, `next push` for 29 of 30 pushes.",
        ),
        ({}, "No push was killed before it finished."),
    ],
)
def test_one_sentence_counts_the_results_of_killed_pushes(results, sentence):
    from benchmarks.faults import result_sentence

    assert result_sentence(Counter(results)) == sentence


def test_the_help_of_the_demo_benchmark_explains_its_options():
    shown = subprocess.run(
        [sys.executable, "-m", "benchmarks.demo", "--help"], capture_output=True, text=True, check=True
    )
    assert "--write" in shown.stdout


def test_plan_is_measured_on_a_folder_of_photos(tmp_path, capsys):
    from benchmarks import source

    page = tmp_path / "performance.md"
    source.main(["--classes", "3", "--photos", "2", "--write", str(page)])
    for text in (capsys.readouterr().out, page.read_text(encoding="utf-8")):
        assert "| first `plan` |" in text and "| second `plan` |" in text
        assert "6 photos in 3 class folders" in text

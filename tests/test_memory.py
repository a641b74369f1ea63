"""Tests of the peak memory of a run, which does not grow with the number of rows."""

import json
import subprocess
import sys

import pytest
from small_photos import CLASSES, picture

SCRIPT = """
import json, resource, sys
from diffcore_hf.workflows import augment
from diffcore_hf.config.augment_schema import build_recipe
outcome = augment.run(build_recipe(json.loads(sys.argv[1])), progress=False)
print(json.dumps([outcome.summary.counts["attempts"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def rows_on_disk(folder, count):
    """Writes a Parquet file of `count` images of 32x32 pixels in six classes, and returns its folder."""
    from datasets import ClassLabel, Dataset, Features, Image

    features = Features({"image": Image(), "label": ClassLabel(names=list(CLASSES))})
    cells = [{"bytes": picture(row % 6, row, size=(32, 32), image_format="PNG"), "path": None} for row in range(count)]
    ds = Dataset.from_dict({"image": cells, "label": [row % 6 for row in range(count)]}, features=features)
    folder.mkdir()
    ds.to_parquet(folder / "train.parquet")
    return str(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_peak_memory_does_not_grow_with_the_rows(keys, tmp_path):
    peak = {}
    for count in (500, 4000):
        recipe = keys | {"source": rows_on_disk(tmp_path / f"rows{count}", count), "max_attempts": 1,
                         "output": str(tmp_path / f"out{count}")}  # fmt: skip
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(recipe)], capture_output=True, text=True, check=True
        )
        attempts, peak[count] = json.loads(process.stdout.splitlines()[-1])
        assert attempts == count
    assert peak[4000] - peak[500] < 150, peak  # MiB

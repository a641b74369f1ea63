"""Parts of due work: what a stage is given, and what a part holds."""

import numpy as np
from datasets import Features
from small_photos import photos, picture

from diffcore_hf.augmentation.plan import make_plan
from diffcore_hf.augmentation.rounds import attempt_part
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.stages.stage import Stage
from diffcore_hf.core import images, schema


class Copying(Stage):
    """A stage that returns the real image as the generated one."""

    reads = ("source_image", "prompt")

    @property
    def adds(self):
        return Features({name: schema.attempt_facts()[name]
                         for name in ("generated_image", "image_sha256", "embedding", "reason")})  # fmt: skip

    def settings(self):
        return {}

    def run(self, source_image, prompt):
        contents = [cell["bytes"] for cell in source_image]
        return {
            "generated_image": [{"bytes": content, "path": None} for content in contents],
            "image_sha256": [images.sha256(content) for content in contents],
            "embedding": [np.zeros(2, np.float16)] * len(contents),
            "reason": [None] * len(contents),
        }


def test_a_stage_reads_the_source_image_whatever_the_source_calls_it(recipe):
    config = recipe(source={"path": "in-memory", "image": "img", "label": "fine_label"})
    ds = photos([2, 1]).rename_columns({"image": "img", "label": "fine_label"})
    source = load_source(config.source, data=ds.add_column("prompt_of_theirs", ["a", "b", "c"]))
    plan = make_plan(source, config)
    part = attempt_part(source, plan, config, range(3), 0, Copying())
    assert part.column_names == list(schema.attempt_facts())
    units = [plan.unit(index) for index in range(3)]
    bytes_of_row = [picture(0, 0), picture(0, 1), picture(1, 0)]
    assert part["image_sha256"].to_pylist() == [images.sha256(bytes_of_row[unit.row]) for unit in units]

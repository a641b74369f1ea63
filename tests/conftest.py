"""Fixtures of all tests: an offline home folder, tiny models, a folder of photos and a short recipe."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

# These variables are set first, because datasets and huggingface_hub read them when they are imported.
HOME = tempfile.mkdtemp(prefix="diffcore-hf-tests-")
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ |= {
    "HF_HOME": HOME,
    "HF_HUB_CACHE": f"{HOME}/hub",
    "HF_DATASETS_CACHE": f"{HOME}/datasets",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
}

# A shell makes its background processes ignore SIGINT, and nohup makes them ignore SIGHUP. The program leaves ignored
# signals as they are, so the tests of signals need the usual handlers.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

import pytest  # noqa: E402
from small_photos import write_photos  # noqa: E402


def pytest_collection_finish() -> None:
    """Excludes the imported modules from garbage collection, because each full pass over them took 0.3 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, str]:
    """Returns the folders of a tiny random StableDiffusionPipeline (`sd`) and CLIPModel (`clip`)."""
    import tiny_models
    import tiny_towers

    root = tmp_path_factory.mktemp("tiny")
    tiny_models.seeded(tiny_models.sd).save_pretrained(root / "sd")
    tiny_models.seeded(tiny_towers.save_clip, root / "clip")
    return {"sd": str(root / "sd"), "clip": str(root / "clip")}


@pytest.fixture(scope="session")
def keys(tiny) -> dict:
    """Returns the keys of a recipe whose run takes seconds: two steps, 16 pixels, few references."""
    return {
        "model": {"path": tiny["sd"], "steps": 2},
        "filter": {"path": tiny["clip"], "references": 6, "policy": {"name": "quantile"}},
        "prompts": {"contexts": ["in snow", "at night"]},
        "max_attempts": 2,
    }


@pytest.fixture(scope="session")
def recipe(keys):
    """Returns a function that builds a Recipe from `keys` and keywords. Without a path the source is in memory."""
    from diffcore_hf.config.augment_schema import build_recipe
    from diffcore_hf.config.layers import keywords_layer

    return lambda **more: build_recipe({"source": {"path": "in-memory"}}, keys, keywords_layer(**more))


@pytest.fixture(scope="session")
def folder_of_photos(tmp_path_factory) -> Path:
    """Returns a folder with ten photos of three classes (4, 3, 3)."""
    return write_photos(tmp_path_factory.mktemp("source") / "photos", [4, 3, 3])

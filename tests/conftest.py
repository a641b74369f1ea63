"""What all tests share: an offline home of their own, tiny models, small colourful datasets, a short recipe."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Before anything imports datasets or huggingface_hub, which read these once.
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
sys.path.insert(0, str(Path(__file__).parent / "models"))  # tiny_models

import io  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from PIL import Image  # noqa: E402

CLASSES = ("red_fox", "green_frog", "blue_jay", "sea_lion", "barn_owl", "grey_wolf")
COLOURS = ((200, 60, 40), (50, 180, 60), (40, 80, 200), (120, 110, 100), (220, 190, 120), (130, 130, 140))


def picture(label: int, number: int, size: tuple[int, int] = (24, 20), image_format: str = "JPEG") -> bytes:
    """The encoded bytes of image `number` of a class: its colour with grain, the same at every call."""
    draw = np.random.default_rng([label, number])
    colour = np.array(COLOURS[label % len(COLOURS)]) + draw.integers(-30, 30, 3)
    grain = draw.integers(-40, 40, (size[1], size[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(colour + grain, 0, 255).astype(np.uint8)).save(buffer, image_format)
    return buffer.getvalue()


def photos(counts: list[int], **options):
    """A Dataset in memory with `counts[k]` images of class k, the classes one after the other."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    rows = [(label, number) for label, count in enumerate(counts) for number in range(count)]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=list(CLASSES[: len(counts)]))})
    cells = [{"bytes": picture(label, number, **options), "path": None} for label, number in rows]
    return Dataset.from_dict({"image": cells, "label": [label for label, _ in rows]}, features=features)


def write_photos(folder: Path, counts: list[int]) -> Path:
    """A folder of photos, one sub-folder a class, half of the files JPEG and half PNG."""
    for label, count in enumerate(counts):
        for number in range(count):
            kind = ("JPEG", "PNG")[number % 2]
            path = folder / CLASSES[label] / f"{number:02d}.{'jpg' if kind == 'JPEG' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(label, number, image_format=kind))
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict[str, str]:
    """Folders of a tiny random StableDiffusionPipeline (`sd`) and CLIPModel (`clip`), as save_pretrained writes them."""
    import tiny_models

    root = tmp_path_factory.mktemp("tiny")
    tiny_models.seeded(tiny_models.sd).save_pretrained(root / "sd")
    tiny_models.seeded(tiny_models.save_clip, root / "clip")
    return {"sd": str(root / "sd"), "clip": str(root / "clip")}


@pytest.fixture(scope="session")
def keys(tiny) -> dict:
    """The keys of a recipe that takes seconds: two steps, 16 pixels, few references."""
    return {
        "model": {"path": tiny["sd"], "steps": 2},
        "filter": {"path": tiny["clip"], "references": 6, "policy": {"name": "quantile"}},
        "prompts": {"contexts": ["in snow", "at night"]},
        "max_attempts": 2,
    }


@pytest.fixture(scope="session")
def recipe(keys):
    """A function: keywords of a recipe -> the Recipe, over `keys`; the source is in memory where no path is given."""
    from diffcore_hf.core.layers import build_recipe, keywords_layer

    return lambda **more: build_recipe({"source": {"path": "in-memory"}}, keys, keywords_layer(**more))


@pytest.fixture(scope="session")
def folder_of_photos(tmp_path_factory) -> Path:
    """Ten photos of three classes (4, 3, 3)."""
    return write_photos(tmp_path_factory.mktemp("source") / "photos", [4, 3, 3])

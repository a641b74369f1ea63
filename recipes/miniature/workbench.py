"""Shared code of the training scripts in this folder: images with captions, a moving average, records and saving.

Contains no model and no loss.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from diffcore_hf.core.errors import UserError
from diffcore_hf.miniature.captions import FLAWS, caption, flaw_caption, with_meaningless_words
from diffcore_hf.miniature.renderer import render
from diffcore_hf.miniature.scenery import CONTEXTS
from diffcore_hf.miniature.species import SPECIES, Species

MODELS = Path(__file__).parents[2] / "src/diffcore_hf/miniature/models"
Pairs = Iterator[tuple[Image.Image, str]]


def device() -> torch.device:
    """Returns cuda if there is a GPU, otherwise cpu."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cast(where: torch.device) -> torch.autocast:
    """Returns autocast to bfloat16 for the forward pass. On recent CPUs this is a third faster with equal quality."""
    return torch.autocast(where.type, dtype=torch.bfloat16)


def flawed(image: Image.Image, flaw: str, rng: np.random.Generator) -> Image.Image:
    """Returns the image with one flaw, which is a key of `FLAWS`."""
    size = image.width
    if flaw == "blur":
        return image.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 3.5) * size / 64))
    if flaw == "noise":
        noise = rng.normal(0, rng.uniform(25, 60), (size, size, 3))
        return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    if flaw == "coarse":
        return image.reduce(int(rng.integers(3, 6))).quantize(12).convert("RGB").resize((size, size), Image.NEAREST)
    if flaw == "crop":
        side = size * rng.uniform(0.35, 0.6)
        x, y = rng.uniform(0, size - side, 2)
        return image.resize((size, size), Image.BICUBIC, box=(x, y, x + side, y + side))
    rows, columns = np.mgrid[:size, :size].astype(np.float64)
    waves, phase = rng.uniform(1.2, 3.0, 2) * 2 * np.pi / size, rng.uniform(0, 2 * np.pi, 2)
    depth = rng.uniform(0.07, 0.14) * size
    x = (columns + depth * np.sin(rows * waves[0] + phase[0])).clip(0, size - 1).astype(int)
    y = (rows + depth * np.sin(columns * waves[1] + phase[1])).clip(0, size - 1).astype(int)
    return Image.fromarray(np.asarray(image)[y, x])


def rendered_pairs(
    seed: int,
    size: int = 64,
    species: tuple[Species, ...] = SPECIES,
    flaws: float = 0.05,
    asides: float = 0.1,
) -> Pairs:
    """Yields new renderings with captions, without end.

    `flaws` is the share of images with a flaw, and `asides` is the share of captions with meaningless words.
    """
    rng = np.random.default_rng(seed)
    while True:
        bird, context = species[rng.integers(len(species))], CONTEXTS[rng.integers(len(CONTEXTS))]
        image = render(bird, context, rng, size)
        if rng.random() < flaws:
            flaw = str(rng.choice(list(FLAWS)))
            image, text = flawed(image, flaw, rng), flaw_caption(bird, context, flaw, rng)
        else:
            text = caption(bird, context, rng)
        yield image, with_meaningless_words(text, rng) if rng.random() < asides else text


def folder_pairs(path: str, seed: int, size: int) -> Pairs:
    """Yields random pairs of an image and a text from a dataset that `load_dataset` can read, without end."""
    from datasets import Image as ImageFeature
    from datasets import Value, load_dataset

    rows = load_dataset(path, split="train")
    images = [name for name, feature in rows.features.items() if isinstance(feature, ImageFeature)]
    texts = [name for name, feature in rows.features.items() if feature in (Value("string"), Value("large_string"))]
    if not images or not texts:
        raise UserError(f"{path} has the columns {rows.column_names}: an image and a text column are needed")
    rng = np.random.default_rng(seed)
    while True:
        row = rows[int(rng.integers(len(rows)))]
        image, side = row[images[0]].convert("RGB"), min(row[images[0]].size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        text = row[texts[0]] if rng.random() > 0.1 else ""
        yield image.resize((size, size), Image.BICUBIC, box=(left, top, left + side, top + side)), text


def pixels(images: list[Image.Image]) -> torch.Tensor:
    """Converts PIL images of one size to (B, 3, H, W) float32 in [-1, 1], channels last in memory."""
    stack = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return stack.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


class MovingAverage:
    """Exponential moving average of parameters. Its decay increases during the first steps."""

    def __init__(self, *modules: torch.nn.Module, decay: float = 0.998):
        self.decay, self.step = decay, 0
        self.live = list(chain.from_iterable(module.parameters() for module in modules))
        self.mean = [p.detach().clone() for p in self.live]

    @torch.no_grad()
    def update(self) -> None:
        """Adds the current parameters to the average."""
        self.step += 1
        torch._foreach_lerp_(self.mean, self.live, 1 - min(self.decay, (1 + self.step) / (10 + self.step)))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the average and the current parameters. A second call exchanges them back."""
        for live, mean in zip(self.live, self.mean, strict=True):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)


def optimizer_for(parameters: list, steps: int, lr: float) -> tuple[torch.optim.Optimizer, object]:
    """Returns AdamW with a one-cycle schedule whose learning rate ends near 0."""
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)


def save_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Replaces `folder` by a new folder that `write` fills. Readers never see an incomplete folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    write(staging)
    old = staging.with_suffix(".old")
    if folder.exists():
        folder.rename(old)
    for path in [staging, *staging.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_record(folder: Path, **facts: object) -> None:
    """Writes data, settings, duration and versions to `training.json` beside the weights, and prints them."""
    from importlib.metadata import version

    versions = {name: version(name) for name in ("torch", "diffusers", "transformers", "timm", "numpy", "pillow")}
    record = facts | {
        "threads": torch.get_num_threads(),
        "device": _device_name(),
        "python": platform.python_version(),
        "versions": versions,
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


def read_record(folder: str | None) -> dict | None:
    """Returns the record beside the weights from which a training starts; None if there is no record."""
    path = Path(folder) / "training.json" if folder else None
    return json.loads(path.read_text()) if path and path.is_file() else None


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({os.cpu_count()} cores)"


class Clock:
    """Measures the seconds since it was created, and prints a progress line at regular steps."""

    def __init__(self, steps: int, every: int = 100):
        self.start, self.steps, self.every = time.monotonic(), steps, every

    def seconds(self) -> float:
        """Returns the seconds, rounded to a tenth."""
        return round(time.monotonic() - self.start, 1)

    def report(self, step: int, **figures: float) -> None:
        """Prints the figures after every `every` steps and after the last step."""
        if step % self.every == 0 or step == self.steps:
            text = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            print(f"step {step}/{self.steps}  {self.seconds():.0f} s  {text}", flush=True)


def save_timm(folder: Path, model: torch.nn.Module, architecture: str, num_classes: int, **config: object) -> None:
    """Writes float16 weights and the configuration for `timm.create_model("local-dir:FOLDER", pretrained=True)`."""
    from safetensors.torch import save_file

    weights = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    picture = {
        "input_size": [3, 64, 64],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": num_classes,
        "pool_size": [2, 2],
        "first_conv": "conv1.0",
        "classifier": "fc",
    }
    facts = {
        "architecture": architecture,
        "num_classes": num_classes,
        "num_features": model.num_features,
        "pretrained_cfg": picture,
    } | config
    (folder / "config.json").write_text(json.dumps(facts, indent=2) + "\n")

"""Program that loads real models whose folders contain traps, and reports what happened, as JSON.

    python load_disguised_models.py FOLDER

The traps are files that a library would read by itself: code, pickles, configurations of adapters, and names of other
files. Some folders are refused. The others are loaded, and the traps have no effect.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_models
import tiny_towers
from audit import Audit
from model_folders import Outside, write_outside

from diffcore_hf.config.augment import FilterConfig, ModelConfig
from diffcore_hf.models.model_resolution import resolve_model
from diffcore_hf.models.pipelines import load_pipeline
from diffcore_hf.models.tower_resolution import resolve_filter
from diffcore_hf.models.towers import ImageTower

CODE = "import os\nos.system('touch {}')\n"


def _add(name: str, **values: Any) -> Callable[[Path, Outside], None]:
    """Return a change that adds keys to a JSON file, which is made if it does not exist."""

    def change(folder: Path, outside: Outside) -> None:
        file = folder / name
        content = json.loads(file.read_text()) if file.exists() else {}
        text = json.dumps(content | values).replace("OUTSIDE", str(outside.folder))
        file.write_text(text)

    return change


def _code(name: str) -> Callable[[Path, Outside], None]:
    return lambda folder, outside: (folder / name).write_text(CODE.format(outside.marker)) and None


def _pickle(name: str) -> Callable[[Path, Outside], None]:
    return lambda folder, outside: (folder / name).write_bytes(outside.pickled.read_bytes()) and None


def _both(*changes: Callable[[Path, Outside], None]) -> Callable[[Path, Outside], None]:
    def change(folder: Path, outside: Outside) -> None:
        for each in changes:
            each(folder, outside)

    return change


def _without_weights(name: str) -> Callable[[Path, Outside], None]:
    """Return a change that replaces the weights by a file without tensors. A library would then use random weights."""
    import numpy as np
    from safetensors.numpy import save

    return lambda folder, outside: (folder / name).write_bytes(save({"nothing": np.zeros(1)})) and None


TOWERS: dict[str, Callable[[Path, Outside], None]] = {
    "code of the class": _both(
        _code("modeling_clip.py"), _add("config.json", auto_map={"AutoModel": "modeling_clip.X"})
    ),
    "code of another class": _both(
        _code("modeling_evil.py"),
        _add(
            "config.json", model_type="evil", auto_map={"AutoConfig": "modeling_evil.X", "AutoModel": "modeling_evil.X"}
        ),
    ),
    "code of the processor": _both(
        _code("processing.py"), _add("preprocessor_config.json", auto_map={"AutoImageProcessor": "processing.X"})
    ),
    "code of the tokenizer": _both(
        _code("tokens.py"), _add("tokenizer_config.json", auto_map={"AutoTokenizer": ["tokens.X", None]})
    ),
    "base model of an adapter": _add("adapter_config.json", base_model_name_or_path="OUTSIDE", peft_type="LORA"),
    "weights of an adapter": _both(
        _add("adapter_config.json", base_model_name_or_path="OUTSIDE", peft_type="LORA"), _pickle("adapter_model.bin")
    ),
    "pickle beside the weights": _pickle("pytorch_model.bin"),
    "pickle of a distributed checkpoint": _pickle(".metadata"),
    "vocabulary outside": _add("tokenizer_config.json", vocab_file="OUTSIDE/secret.json", merges_file="OUTSIDE/x"),
    "tokenizer outside": _add("tokenizer_config.json", tokenizer_file="OUTSIDE/secret.json"),
    "arguments of the tokenizer": _add("tokenizer_config.json", init_inputs=["OUTSIDE/secret.json"]),
    "index of pickles": _add("pytorch_model.bin.index.json", weight_map={"weight": "OUTSIDE/x.bin"}),
    "weights that are missing": _without_weights("model.safetensors"),
}
PIPELINES: dict[str, Callable[[Path, Outside], None]] = {
    "code of the pipeline": _code("pipeline.py"),
    "code of a component": _code("unet/unet.py"),
    "connected pipeline": lambda folder, outside: (
        (folder / "README.md").write_text(f"---\nbase_model: {outside.folder}\nprior: {outside.folder}\n---\n") and None
    ),
    "pickles of components": _both(
        _pickle("unet/diffusion_pytorch_model.bin"), _pickle("vae/diffusion_pytorch_model.bin")
    ),
    "adapter of the text encoder": _add("text_encoder/adapter_config.json", base_model_name_or_path="OUTSIDE"),
    "text encoder without weights": _without_weights("text_encoder/model.safetensors"),
    "network without weights": _without_weights("unet/diffusion_pytorch_model.safetensors"),
    "autoencoder without weights": _without_weights("vae/diffusion_pytorch_model.safetensors"),
}


def load(kind: str, folder: Path) -> None:
    """Resolve and load a model as a run does."""
    if kind == "tower":
        config = FilterConfig(path=str(folder))
        resolve_filter(config)
        tower = ImageTower(config, device="cpu")
        tower.load()
        tower.embed_text(["a bird"])
    else:
        load_pipeline(resolve_model(ModelConfig(path=str(folder), device="cpu"))[0])


def main(root: Path) -> dict[str, Any]:
    """Return the report of all folders: error and events."""
    outside = write_outside(root / "outside")
    intact = {"tower": root / "clip", "pipeline": root / "sd"}
    tiny_towers.save_clip(intact["tower"])
    tiny_models.seeded(tiny_models.sd).save_pretrained(intact["pipeline"])
    for kind, folder in intact.items():
        load(kind, folder)
    audit = Audit([Path(tempfile.gettempdir()) / "diffcore-model-", "/dev/null", "/dev/urandom", "/proc", "/sys"])
    report: dict[str, Any] = {}
    for kind, table in (("tower", TOWERS), ("pipeline", PIPELINES)):
        for number, (name, change) in enumerate(table.items()):
            folder = root / f"{kind}{number}"
            shutil.copytree(intact[kind], folder)
            change(folder, outside)
            audit.start(folder)
            error: BaseException | None = None
            try:
                load(kind, folder)
            except BaseException as raised:
                error = raised
            report[name] = {
                "error": type(error).__name__,
                "message": str(error),
                "events": audit.stop(),
                "executed": outside.marker.exists(),
            }
    return report


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1])), sys.stdout)

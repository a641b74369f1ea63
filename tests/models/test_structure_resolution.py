"""Tests of the checks of an IP-Adapter: a file whose tensors have other dimensions is refused with one line."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.models.structure_resolution import PROJECTION, RESAMPLER, IPAdapter, check_ip_adapter

LAYER = "ip_adapter.1.to_k_ip.weight"
MODEL = ModelConfig(path="model.safetensors", family_preset="cosxl")


@pytest.mark.parametrize("name", [PROJECTION, RESAMPLER])
@pytest.mark.parametrize(
    "projection, layer", [((8,), (4, 4)), ((), (4, 4)), ((8, 20), (4,)), ((8, 20), ()), ((8, 20, 1), (4, 4))]
)
def test_tensors_of_other_dimensions_are_refused(tmp_path, name, projection, layer):
    (tmp_path / "image_encoder").mkdir()
    (tmp_path / "image_encoder" / "config.json").write_text(json.dumps({"projection_dim": 20, "hidden_size": 20}))
    tensors = {name: np.zeros(projection, np.float32), LAYER: np.zeros(layer, np.float32)}
    save_file(tensors, tmp_path / "ip_adapter.safetensors")
    adapter = IPAdapter(str(tmp_path), None, "ip_adapter.safetensors", "image_encoder", 1.0)
    with pytest.raises(UserError, match="is no IP-Adapter of a supported kind") as error:
        check_ip_adapter(adapter, MODEL)
    assert "\n" not in str(error.value)

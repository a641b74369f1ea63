"""Tests of the facts that are read from source files of a library: they equal those of the imported class."""

from __future__ import annotations

import inspect

import diffusers
import pytest
import transformers

from diffcore_hf.config.augment import FilterConfig
from diffcore_hf.models import library_classes
from diffcore_hf.models.guidance import FAMILIES, native_parameters, native_support
from diffcore_hf.models.tower_resolution import resolve_filter

SCHEDULERS = [
    "DDIMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "UniPCMultistepScheduler",
    "PNDMScheduler",
    "LCMScheduler",
    "EDMEulerScheduler",
    "HeunDiscreteScheduler",
]
PIPELINES = [name for family in FAMILIES for name in family.pipelines] + [
    "PixArtSigmaPipeline",
    "SanaPipeline",
    "AuraFlowPipeline",
    "LatentConsistencyModelPipeline",
]
MODEL_TYPES = ["clip", "siglip", "siglip2", "dinov2", "swin", "vit", "convnext", "clip_vision_model", "dinov3_vit"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_options_of_a_scheduler_are_read_from_its_file(name):
    expected = set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {"self", "kwargs"}
    assert set(library_classes.scheduler_class(name).methods["__init__"]) == expected


@pytest.mark.parametrize("name", PIPELINES)
def test_the_arguments_of_a_pipeline_are_read_from_its_file(name):
    found = library_classes.pipeline_class(name)
    cls = getattr(diffusers, name)
    expected = set(inspect.signature(cls.__call__).parameters) - {"self", "kwargs"}
    assert set(found.methods["__call__"]) == expected
    assert native_support(found.methods["__call__"]) == native_parameters(cls)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_class_of_a_tower_is_read_from_its_file(model_type):
    cls = transformers.MODEL_MAPPING[transformers.CONFIG_MAPPING[model_type]]
    found = library_classes.tower_class(model_type)
    assert found.name == cls.__name__
    assert ("get_text_features" in found.methods) == hasattr(cls, "get_text_features")


@pytest.mark.parametrize("name", ["NoSuchScheduler", "StableDiffusionPipeline", "not a name", "SchedulerMixin", ""])
def test_an_unknown_or_ambiguous_scheduler_has_no_class(name):
    assert library_classes.scheduler_class(name) is None


@pytest.mark.parametrize("name", ["NoSuchPipeline", "DDIMScheduler", "DiffusionPipeline", "../x", ""])
def test_an_unknown_or_ambiguous_pipeline_has_no_class(name):
    assert library_classes.pipeline_class(name) is None


@pytest.mark.parametrize("model_type", ["none", "", "../clip", "timm_wrapper_x"])
def test_an_unknown_or_ambiguous_model_type_has_no_class(model_type):
    assert library_classes.tower_class(model_type) is None


def test_a_library_that_is_not_installed_gives_no_classes(monkeypatch):
    monkeypatch.setattr(library_classes, "_root", lambda library: None)
    library_classes._text.cache_clear()
    try:
        assert library_classes.scheduler_class("DDIMScheduler") is None
        assert library_classes.tower_class("clip") is None
        assert not library_classes.is_image_processor("CLIPImageProcessor")
    finally:
        library_classes._text.cache_clear()


def test_a_described_tower_equals_the_inspected_tower_except_for_its_processor(towers):
    for folder in towers.values():
        config = FilterConfig(path=str(folder))
        _, described = resolve_filter(config, describe_only=True)
        _, inspected = resolve_filter(config)
        assert described["processor"] in ("", inspected["processor"])
        assert described | {"processor": ""} == inspected | {"processor": ""}

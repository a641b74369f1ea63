"""Tests of token counts that are computed from the files of a tokenizer: they equal those of transformers."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import transformers
from safetensors.numpy import save_file

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.models import text_tokenizers
from diffcore_hf.models.text_tokenizers import NO_LIMIT, text_tokenizer

MINIATURE = Path(str(files("diffcore_hf.miniature") / "models/sd"))
TEXTS = (
    "a photo of a blue jay, a bird, in heavy snow",
    "A PHOTO  of\ta\nBird's nest; it's 1,234 €!",
    "",
    "naïve Ünïcode 冬の鳥 🐦 e\u0301",
    "<|endoftext|> and <|startoftext|> </s> <pad>",
    "word " * 90,
)


def of_transformers(folder: Path):
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def model(folder: Path) -> ModelConfig:
    return ModelConfig(path=str(folder))


def assert_equal_tokens(tokenizer, expected):
    for text in TEXTS:
        assert list(tokenizer.tokens(text)) == expected(text, verbose=False)["input_ids"], text
    assert tokenizer.limit == min(expected.model_max_length, NO_LIMIT)


@pytest.fixture
def no_transformers(monkeypatch):
    """Fail a test in which transformers is needed."""
    monkeypatch.setattr(text_tokenizers, "_from_transformers", None)


def test_the_tokens_of_the_miniature_equal_those_of_transformers(no_transformers):
    assert_equal_tokens(text_tokenizer(model(MINIATURE)), of_transformers(MINIATURE / "tokenizer"))


@pytest.mark.parametrize(
    "build",
    [tiny_models.clip_tokenizer, tiny_models.t5_tokenizer, lambda: tiny_models.z_image().tokenizer],
    ids=["clip", "t5", "qwen"],
)
def test_the_tokens_of_tokenizer_json_equal_those_of_transformers(build, tmp_path, no_transformers):
    build().save_pretrained(tmp_path / "tokenizer")
    save_file({"weight": np.zeros(1)}, tmp_path / "model.safetensors")
    assert_equal_tokens(text_tokenizer(model(tmp_path)), of_transformers(tmp_path / "tokenizer"))


def test_the_tokens_of_the_two_older_files_of_clip_equal_those_of_transformers(tmp_path, no_transformers):
    folder = tmp_path / "tokenizer"
    shutil.copytree(MINIATURE / "tokenizer", folder)
    save_file({"weight": np.zeros(1)}, tmp_path / "model.safetensors")
    whole = json.loads((folder / "tokenizer.json").read_text())
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in whole["model"]["merges"]]
    (folder / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    (folder / "tokenizer.json").unlink()
    assert_equal_tokens(text_tokenizer(model(tmp_path)), of_transformers(folder))


def test_a_tokenizer_that_its_files_do_not_define_is_read_by_transformers(tmp_path, monkeypatch):
    transformers.BertTokenizer(
        vocab={"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3, "[MASK]": 4, "a": 5}
    ).save_pretrained(tmp_path / "tokenizer")
    save_file({"weight": np.zeros(1)}, tmp_path / "model.safetensors")
    calls = []
    original = text_tokenizers._from_transformers
    monkeypatch.setattr(text_tokenizers, "_from_transformers", lambda *a: calls.append(a) or original(*a))
    assert list(text_tokenizer(model(tmp_path)).tokens("a")) == [1, 5, 2]
    assert len(calls) == 1


def test_the_tokenizer_with_the_largest_limit_is_used(tmp_path):
    for folder, length in (("tokenizer", 16), ("tokenizer_2", 77), ("tokenizer_3", 40)):
        tiny_models.clip_tokenizer(length).save_pretrained(tmp_path / folder)
    save_file({"weight": np.zeros(1)}, tmp_path / "model.safetensors")
    assert text_tokenizer(model(tmp_path)).limit == 77


@pytest.mark.parametrize("damage", ["", "{", "[]", "null"])
def test_a_damaged_tokenizer_is_left_out(damage, tmp_path):
    folder = tmp_path / "tokenizer"
    tiny_models.clip_tokenizer().save_pretrained(folder)
    save_file({"weight": np.zeros(1)}, tmp_path / "model.safetensors")
    (folder / "tokenizer.json").write_text(damage)
    assert text_tokenizer(model(tmp_path)) is None


@pytest.mark.parametrize(
    "named",
    [
        ModelConfig(path="org/none", revision="0" * 40),
        ModelConfig(path="no/such/folder"),
        ModelConfig(path="x", family_preset="cosxl"),
    ],
)
def test_a_missing_tokenizer_is_none(named):
    assert text_tokenizer(named) is None

"""A CLIP tokenizer for the miniature world: byte-pair encoding learned from captions; it encodes any text."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer(captions: Sequence[str], size: int = 1600):
    """Learns the merges of a `CLIPTokenizer` from captions.

    The text is lower case, as in CLIP. The end of a word is marked. Every byte is in the vocabulary twice, inside a
    word and at its end, so that no text is unknown.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        end_of_word_suffix="</w>",
        show_progress=False,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    learner.train_from_iterator(sorted(set(captions)), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "vocab.json").write_text(json.dumps(vocabulary))
        (path / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)


def tokenize(tokenizer, captions: Sequence[str], padding: str = "max_length"):
    """Returns `input_ids` and `attention_mask`, (B, LENGTH), or (B, length of the longest) with padding "longest"."""
    return tokenizer(
        list(captions),
        padding=padding,
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )

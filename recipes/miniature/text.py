"""Creates the CLIP tokenizer of the miniature world: byte-pair encoding that is learned from captions."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer(captions: Sequence[str], size: int = 1600):
    """Returns a `CLIPTokenizer` whose merges are learned from captions.

    Text becomes lower case and the end of a word is marked, as in CLIP. The vocabulary contains every byte twice: for
    the inside of a word and for its end. So the tokenizer can encode any text.
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
    """Returns `input_ids` and `attention_mask`, (B, LENGTH) each.

    If `padding` is "longest", the second size is the length of the longest caption.
    """
    return tokenizer(
        list(captions),
        padding=padding,
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )

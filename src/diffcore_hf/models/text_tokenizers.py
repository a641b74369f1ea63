"""Tokenizers of text encoders: the number of tokens of a prompt, without transformers where possible.

Owns the reading of tokenizer files with the library `tokenizers`. An import of transformers' tokenizers imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffcore_hf.config.augment import ModelConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.hub_cache import cached_commit
from diffcore_hf.models import cosxl
from diffcore_hf.models.model_views import model_view
from diffcore_hf.models.weights_access import cached_file, cached_snapshot, resolve_weights

FOLDERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
NO_LIMIT = int(1e30)
"""Limit of a tokenizer whose configuration states none."""

_START, _END = "<|startoftext|>", "<|endoftext|>"
_CLIP_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_FILE_IS_ENOUGH = ("CLIPTokenizer", "T5Tokenizer", "Qwen2Tokenizer", "PreTrainedTokenizer", "TokenizersBackend")
"""Tokenizer classes, without the suffix `Fast`, that give the tokens of their file tokenizer.json."""


@dataclass(frozen=True)
class TextTokenizer:
    """The tokenizer of a text encoder."""

    limit: int
    """The largest number of tokens that the text encoder uses."""
    tokens: Callable[[str], Sequence[int]]
    """Function from a text to its tokens, start and end included."""
    has: Callable[[str], bool] = lambda word: False
    """Function that returns whether a word is one token of the vocabulary."""


def text_tokenizer(model: ModelConfig) -> TextTokenizer | None:
    """Return the tokenizer of a resolved model's text encoder; if there are several, the one with the largest limit.

    Reads local and cached files only; None if there is no tokenizer among them.
    """
    try:
        if model.family_preset == "cosxl":
            where, revision, local = cosxl.CONFIGURATION, None, None
        else:
            files = resolve_weights(model.path, model.revision, identify=False)
            where, revision, local = files.location, files.revision, files.local
    except UserError:
        return None

    def find(name: str) -> Path | None:
        if local is not None:
            return local / name if (local / name).is_file() else None
        return cached_file(where, revision, name)

    root = local or cached_snapshot(where, cached_commit(where, revision) or "")
    tokenizers = []
    for folder in FOLDERS:
        if find(f"{folder}/tokenizer_config.json") is None:
            continue
        try:
            known = _from_files(folder, find)
            if known is None and root is not None:
                known = _from_transformers(root, folder)
            if known is not None:
                tokenizers.append(known)
        except Exception:  # damaged, incomplete, or of a kind unknown to transformers: the caller counts words
            continue
    return max(tokenizers, key=lambda tokenizer: tokenizer.limit, default=None)


def _from_files(folder: str, find: Callable[[str], Path | None]) -> TextTokenizer | None:
    """Return the tokenizer of a folder; None if its files alone do not define it."""
    from tokenizers import Tokenizer

    settings_file, whole = find(f"{folder}/tokenizer_config.json"), find(f"{folder}/tokenizer.json")
    settings: dict[str, Any] = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file else {}
    kind = str(settings.get("tokenizer_class")).removesuffix("Fast")
    limit = min(int(settings.get("model_max_length") or NO_LIMIT), NO_LIMIT)
    if whole is not None and kind in _FILE_IS_ENOUGH:
        tokenizer = Tokenizer.from_file(str(whole))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    else:
        vocabulary, merges = find(f"{folder}/vocab.json"), find(f"{folder}/merges.txt")
        if whole is not None or kind != "CLIPTokenizer" or vocabulary is None or merges is None:
            return None
        tokenizer = _clip(vocabulary, merges)
    return TextTokenizer(
        limit, lambda text: tokenizer.encode(text).ids, lambda word: tokenizer.token_to_id(word) is not None
    )


def _clip(vocabulary: Path, merges: Path) -> Any:
    """Return the tokenizer of CLIP from its two older files, as transformers builds it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary_ids = json.loads(vocabulary.read_text(encoding="utf-8"))
    tokenizer = Tokenizer(models.BPE.from_file(str(vocabulary), str(merges), end_of_word_suffix="</w>", unk_token=_END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(_CLIP_PIECES), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    special = {name: vocabulary_ids[name] for name in (_START, _END)}
    tokenizer.post_processor = processors.RobertaProcessing(
        (_END, special[_END]), (_START, special[_START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def _from_transformers(root: Path, folder: str) -> TextTokenizer:
    from transformers import AutoTokenizer

    with model_view(root, str(root)) as view:
        tokenizer = AutoTokenizer.from_pretrained(view / folder, local_files_only=True, trust_remote_code=False)
    return TextTokenizer(
        int(tokenizer.model_max_length),
        lambda text: tokenizer(text, verbose=False)["input_ids"],
        lambda word: word in tokenizer.get_vocab(),
    )

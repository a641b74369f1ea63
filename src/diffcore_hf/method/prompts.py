"""Builds the two prompts of Eq. 4: the positive prompt P_c and the negative prompt P_n.

Owns the names of classes in prompts, the filling of templates, and the removal of negative terms that contradict a
label or a context. The built-in texts of each kind of object are in config/kinds.py. The context of each unit is chosen
in augmentation/plan.py. The functions here are pure functions of texts: they use no model and no files.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized

from diffcore_hf.config.augment import PromptsConfig
from diffcore_hf.config.context_lists import CAPTIONS
from diffcore_hf.config.kinds import KINDS, PAPER_CONTEXTS, TEMPLATES, template_pieces
from diffcore_hf.config.yaml_text import map_in_shell
from diffcore_hf.core.errors import UserError

_WNID_PREFIX = re.compile(r"^n\d{8}[-_ ]+(?=\S)")
_NUMBERING = re.compile(
    r"""^\#?(?:
        \d{1,5} \s* [.):] (?=[\s_]*[^\W\d]) [\s_]*      # 001.Crow, 12) Crow, 7: Crow; not 3.5
        | \d{1,3} _+ (?=[^\W\d_])                       # 12_crow; not 2012_BMW
        | 0\d* [\s_-]+ (?=[^\W\d_])                     # 007-crow, 01 crow; not 3-wheeler
        | \d{1,5} \s+ [-–] \s+ (?=[^\W\d_])             # 12 - crow
    )""",
    re.VERBOSE,
)
_OPAQUE = (
    re.compile(r"n\d{8}"),  # wnid
    re.compile(r"\d+"),
    re.compile(r"(?=[a-f]*\d)[0-9a-f]{8,}", re.IGNORECASE),  # at least 8 hex digits, one of them 0 to 9
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    re.compile(r"(class|label|category|cls|id)[\W_]*\d+", re.IGNORECASE),
)
# Placeholders for a/an and A/An until the next word is known.
_ARTICLES = {"a": "\0", "A": "\1"}
# Words whose first vowel is spoken as a consonant (a unicorn), and words whose first h is silent (an hour).
_VOWEL_SPOKEN_AS_CONSONANT = re.compile(
    r"(uni(?!n|m)|us[aeiu]|ut[ei]|eu|ewe|ufo|uk|ub?iq|one\b|once\b|ura|uru|uga)", re.IGNORECASE
)
_SILENT_H = re.compile(r"(hour|heir|honest|honou?r)", re.IGNORECASE)
# Words that are spoken letter by letter (an F-16, an MRI).
_SPOKEN_BY_LETTERS = re.compile(r"[A-Za-z](?=[\d\-/.]|$)|[A-Z]{2,3}(?=[\d\-/,;]|$)|[B-DF-HJ-NP-TV-Z]{2,}\b")


def clean_label(name: str) -> str:
    """Returns a class name as plain words, without numbering, underscores and slashes.

    For example `001.Black_footed_Albatross` becomes `Black footed Albatross`. Digits that belong to the name stay
    (`2012 BMW M3`, `747-400`, `A320`), and its spelling does not change. The result is empty only if the name has
    neither a letter nor a digit.
    """
    text = unicodedata.normalize("NFC", name).replace("%20", " ")
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).replace("\\", " ").strip()
    plain = " ".join(text.split())
    text = _NUMBERING.sub("", _WNID_PREFIX.sub("", plain)).replace("_", " ")
    # In words with digits a slash is part of a type name (F-16A/B, F/A-18). In other words it separates folders.
    words = [word if any(c.isdigit() for c in word) else word.replace("/", " ") for word in text.split()]
    text = " ".join(" ".join(words).split()).strip(" .-_~/,;:")
    for candidate in (text, plain):
        if any(c.isalnum() for c in candidate):
            return candidate
    return ""


def prompt_names(
    names: Sequence[str],
    label_names: str | Mapping[str, str] = "clean",
    descriptions: Mapping[str, str] | None = None,
    unread: Collection[str] = (),
) -> list[str]:
    """Returns the text for {label} in the prompts of each class, in the order of `names`.

    Args:
        names: the dataset's class names.
        label_names: `clean`, `raw`, or a map old -> new. Names that are not in the map are cleaned.
        descriptions: a map from a class (its name in the dataset or in prompts) to the text that replaces it.
        unread: the classes whose names no model reads. Such a name may be an opaque id.

    Raises:
        UserError: a key matches no class or several classes, or a name that a model reads is an opaque id.
    """
    for key in () if isinstance(label_names, str) else label_names:
        if key not in names:
            raise UserError(_no_such_class("source.label_names", key, names))
    plain = [_plain(name, label_names) for name in names]
    result = list(plain)
    for key, text in (descriptions or {}).items():
        matches = [i for i, name in enumerate(names) if name == key] or [i for i, n in enumerate(plain) if n == key]
        if not matches:
            raise UserError(_no_such_class("prompts.label_descriptions", key, [*names, *plain]))
        if len(matches) > 1:
            same = ", ".join(repr(names[i]) for i in matches[:3])
            raise UserError(
                f"prompts.label_descriptions names {key!r}, which matches {same}. Use the full name of the class"
            )
        result[matches[0]] = text
    for label in opaque_classes(names, result, label_names):
        name = names[label]
        if name not in unread:
            raise UserError(
                f"class {name!r} is an opaque id, which does not describe the class. "
                f"Describe the class with --source.label_names {map_in_shell({name: 'a description'})} "
                "or with prompts.label_descriptions"
            )
    return result


def opaque_classes(
    names: Sequence[str], texts: Sequence[str], label_names: str | Mapping[str, str] = "clean"
) -> list[int]:
    """Returns the indices of the classes whose text in prompts is an opaque id. Texts that the user chose are left out.

    Args:
        names: the dataset's class names.
        texts: the result of prompt_names for these names.
        label_names: as in prompt_names.
    """
    return [
        label
        for label, (name, text) in enumerate(zip(names, texts, strict=True))
        if (isinstance(label_names, str) or name not in label_names)
        and text == _plain(name, label_names)
        and _is_opaque(text)
    ]


def _plain(name: str, label_names: str | Mapping[str, str]) -> str:
    """Returns the text of a class in prompts without its description. It is never empty unless the name is empty."""
    mapped = None if isinstance(label_names, str) else label_names.get(name)
    return mapped or (name if label_names == "raw" else clean_label(name) or name)


def _is_opaque(text: str) -> bool:
    """Returns whether a name does not describe the class: a number, a WordNet id, a hash, or a name like `class_12`."""
    return not any(c.isalnum() for c in text) or any(pattern.fullmatch(text.strip()) for pattern in _OPAQUE)


def _no_such_class(field: str, key: str, names: Sequence[str]) -> str:
    similar = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or list(names[:3])
    listed = ", ".join(map(repr, similar))
    return f"{field} names {key!r}, which is not a class of the dataset. Similar classes: {listed}"


def template_fields(template: str) -> set[str]:
    """Returns the placeholders of a template that are columns of the source: all but {label}, {kind} and {context}.

    Raises:
        UserError: the braces do not pair, or a placeholder is not a plain name.
    """
    names = {field for _, field in template_pieces(TEMPLATES.get(template, template)) if field is not None}
    return names - {"label", "kind", "context"}


def render_prompt(
    template: str, label: str, kind: str, context: str, fields: Mapping[str, str | None] | None = None
) -> str:
    """Returns the prompt P_c of one class in one context (Eq. 4).

    Commas divide the template into pieces. A piece that is empty after its placeholders are filled is removed, with its
    comma. The article `a` before a placeholder becomes `an` before a vowel sound. It is removed if the value starts
    with an article.

    Args:
        template: `caption`, `paper`, or a text with placeholders.
        label: the text for {label}.
        kind: the text for {kind}, the noun of a Kind; may be empty.
        context: the text for {context}; it may contain {label} and {kind}.
        fields: values of the other placeholders, by column.

    Raises:
        UserError: a placeholder has no value.
    """
    values = {**(fields or {}), "label": label, "kind": kind}
    values["context"] = _fill(context, values) if "{" in context or "}" in context else context
    return _fill(TEMPLATES.get(template, template), values)


def _fill(template: str, values: Mapping[str, str | None]) -> str:
    """Returns a template with its placeholders replaced by values; see render_prompt for articles and empty pieces."""
    segments: list[str] = [""]
    for text, field in template_pieces(template):
        *complete, rest = text.split(",")
        for piece in complete:
            segments[-1] += piece
            segments.append("")
        if field is None:
            segments[-1] += rest
            continue
        if field not in values:
            raise UserError(
                f"{template!r} has the placeholder {{{field}}}, which has no value here. Remove the placeholder"
            )
        value = " ".join(str(values[field] or "").translate({0: " ", 1: " "}).split())
        article = re.search(r"(?:^|(?<=\s))(an?|the)\s+$", rest, re.IGNORECASE)
        if article:
            has_article = re.match(r"(an?|the|some)\s", value, re.IGNORECASE)
            rest = rest[: article.start()] + ("" if has_article else _ARTICLES.get(article[1][0], article[1]) + " ")
        segments[-1] += rest + value
    line = " ".join(",".join(segment for segment in segments if segment.strip(" \0\1")).split())
    line = re.sub(r"([\0\1]) (\S+)", lambda m: f"{_article(m[2], m[1] == _ARTICLES['A'])} {m[2]}", line)
    return re.sub(r" +,", ",", " ".join(line.translate({0: None, 1: None}).split()))


def _article(word: str, capital: bool) -> str:
    """Returns the article `a` or `an` for the first sound of the next word."""
    word = word.lstrip("\"'([“‘")
    if letters := _SPOKEN_BY_LETTERS.match(word):
        takes_an = letters[0][0].upper() in "AEFHILMNORSX"
    elif word[:1].isdigit():
        takes_an = word[0] == "8" or re.match(r"(11|18)(?!\d)", word) is not None
    else:
        sound = unicodedata.normalize("NFD", word[:1]).lower()[:1]
        takes_an = (sound in ("a", "e", "i", "o", "u") and not _VOWEL_SPOKEN_AS_CONSONANT.match(word)) or bool(
            _SILENT_H.match(word)
        )
    article = "an" if takes_an else "a"
    return article.capitalize() if capital else article


def contexts_of(prompts: PromptsConfig, kind: str) -> tuple[str, ...]:
    """Returns the contexts of the recipe. If it has none, returns the contexts of the paper's template or of the
    kind. If captions will give the contexts, returns one empty context."""
    if prompts.contexts is not None:
        return prompts.contexts
    if prompts.contexts_from == CAPTIONS:
        return ("",)
    return PAPER_CONTEXTS if prompts.template == "paper" else KINDS[kind].contexts


def negatives_of(prompts: PromptsConfig, kind: str) -> tuple[tuple[str, ...], bool]:
    """Returns the terms of the negative prompt, and whether they are the built-in ones of the kind.

    A built-in term that contradicts a label or a context is removed later. A term of the user that contradicts one is
    an error.
    """
    builtin = KINDS[kind].negatives
    if prompts.negatives is None or prompts.negatives == builtin:
        return builtin, True
    return prompts.negatives, False


def contradicts(term: str, text: str) -> bool:
    """Returns whether one of two texts contains the other as whole words. Upper and lower case are treated as equal."""
    return _inside(_words(term), _words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _inside(a: list[str], b: list[str]) -> bool:
    """Returns whether the shorter list of words occurs in the longer one."""
    short, long = sorted((a, b), key=len)
    return bool(short) and any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))


def negative_prompts(
    terms: Sequence[str], labels: Sequence[str], contexts: Sequence[str], builtin: bool
) -> tuple[list[tuple[str | None, ...]], int]:
    """Returns the prompts P_n (Eq. 4) of every class in every context.

    Args:
        terms: descriptions of what the images must not show. A term is removed where it contradicts the label or the
            context.
        labels: the K names of classes in prompts.
        contexts: the C contexts.
        builtin: whether the terms are the built-in ones of the kind.

    Returns:
        K tuples of C texts, None where no term is left; and the number of terms removed from all these prompts.

    Raises:
        UserError: a term of the user (`builtin` is false) contradicts a label or a context.
    """
    words = [_words(term) for term in terms]
    all_words: set[str] = set()
    all_words.update(*words)
    by_context = [_contradicting(words, context) for context in contexts]

    def prompts_without(by_label: set[int]) -> tuple[tuple[str | None, ...], int]:
        """Returns the prompts of one class by context, and the number of terms that are removed from all of them."""
        removed_by_context = [indices | by_label for indices in by_context]
        texts = [
            ", ".join(term for i, term in enumerate(terms) if i not in removed) or None
            for removed in removed_by_context
        ]
        return tuple(texts), sum(map(len, removed_by_context))

    default_prompts = prompts_without(set())
    prompts, count = [], 0
    for label in labels:
        # Most labels share no word with any term, so they all have the same prompts.
        by_label = set() if all_words.isdisjoint(_words(label)) else _contradicting(words, label)
        if by_label and not builtin:
            raise UserError(_contradiction(terms[min(by_label)], "label", label))
        texts, removed_terms = prompts_without(by_label) if by_label else default_prompts
        prompts.append(texts)
        count += removed_terms
    if not builtin:
        for context, indices in zip(contexts, by_context, strict=True):
            if indices:
                raise UserError(_contradiction(terms[min(indices)], "context", context))
    return prompts, count


def _contradicting(words: Sequence[list[str]], text: str) -> set[int]:
    """Returns the indices of the terms, given as lists of words, that contradict a label or context."""
    text_words = _words(text)
    return {i for i, term in enumerate(words) if _inside(term, text_words)}


def _contradiction(term: str, what: str, text: str) -> str:
    return (
        f"prompts.negatives has {term!r}, which contradicts the {what} {text!r} that it is used with. "
        f"Leave it out, or use words that the {what} does not contain"
    )


def lint(prompts: Iterable[str], tokenize: Callable[[str], Sized] | None = None, max_length: int = 77) -> list[str]:
    """Returns a warning for each different prompt that is too long for the text encoder.

    Args:
        prompts: rendered prompts.
        tokenize: function from a text to its tokens, start and end included. None: words are counted. A text has at
            least as many tokens as words.
        max_length: the largest number of tokens that the text encoder uses.
    """
    warnings = []
    for prompt in dict.fromkeys(prompts):
        count = len(tokenize(prompt)) if tokenize else len(prompt.split()) + 2
        if count > max_length:
            at_least = "" if tokenize else "at least "
            warnings.append(
                f"{at_least}{count} tokens, but the text encoder uses only the first {max_length}: {prompt!r}"
            )
    return warnings

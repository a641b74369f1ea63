"""Makes the two prompts of Eq. 4: the positive prompt P_c and the negative prompt P_n.

Owns the names of classes in prompts, the filling of templates, and the removal of negative terms that contradict a
label or a context. The words of each kind of object are in config/kinds.py; which unit gets which context is decided in
augmentation/plan.py. Pure functions of texts; no model, no files.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized

from diffcore_hf.config.augment import PromptsConfig
from diffcore_hf.config.kinds import KINDS, PAPER_CONTEXTS, TEMPLATES, template_pieces
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
    re.compile(r"(?=[a-f]*\d)[0-9a-f]{8,}", re.IGNORECASE),  # one hex blob with at least a digit
    re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    re.compile(r"(class|label|category|cls|id)[\W_]*\d+", re.IGNORECASE),
)
# Placeholders for a/an and A/An until the next word is known.
_ARTICLES = {"a": "\0", "A": "\1"}
# Vowels that are spoken as a consonant (a unicorn), and h that is silent (an hour).
_VOWEL_SPOKEN_AS_CONSONANT = re.compile(
    r"(uni(?!n|m)|us[aeiu]|ut[ei]|eu|ewe|ufo|uk|ub?iq|one\b|once\b|ura|uru|uga)", re.IGNORECASE
)
_SILENT_H = re.compile(r"(hour|heir|honest|honou?r)", re.IGNORECASE)
# Words that are spelled out (an F-16, an MRI).
_SPOKEN_BY_LETTERS = re.compile(r"[A-Za-z](?=[\d\-/.]|$)|[A-Z]{2,3}(?=[\d\-/,;]|$)|[B-DF-HJ-NP-TV-Z]{2,}\b")


def clean_label(name: str) -> str:
    """Returns a class name as a person would write it: without numbering, underscores, and characters of file systems.

    `001.Black_footed_Albatross` -> `Black footed Albatross`; digits that belong to the name stay (`2012 BMW M3`,
    `747-400`, `A320`), and its spelling stays. The result is empty only where the name has no letter and no digit.
    """
    text = unicodedata.normalize("NFC", name).replace("%20", " ")
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).replace("\\", " ").strip()
    plain = " ".join(text.split())
    text = _NUMBERING.sub("", _WNID_PREFIX.sub("", plain)).replace("_", " ")
    # A slash is part of type names (F-16A/B, F/A-18); elsewhere it separates the parts of a path.
    words = [word if any(c.isdigit() for c in word) else word.replace("/", " ") for word in text.split()]
    text = " ".join(" ".join(words).split()).strip(" .-_~/,;:")
    for candidate in (text, plain):
        if any(c.isalnum() for c in candidate):
            return candidate
    return ""


def prompt_names(
    names: Sequence[str], label_names: str | Mapping[str, str] = "clean", descriptions: Mapping[str, str] | None = None
) -> list[str]:
    """Returns the text for {label} in the prompts of each class, in the order of `names`.

    Args:
        names: the dataset's class names.
        label_names: `clean`, `raw`, or a map old -> new; classes that are not in the map are cleaned.
        descriptions: a map from a class (its name in the dataset or in prompts) to the text that replaces it.

    Raises:
        UserError: a key that fits no class or several; a class whose name is an opaque id.
    """
    mapped = {} if isinstance(label_names, str) else dict(label_names)
    for key in mapped:
        if key not in names:
            raise UserError(_no_such_class("source.label_names", key, names))
    plain = [mapped.get(name) or (name if label_names == "raw" else clean_label(name)) for name in names]
    result = list(plain)
    for key, text in (descriptions or {}).items():
        matches = [i for i, name in enumerate(names) if name == key] or [i for i, n in enumerate(plain) if n == key]
        if not matches:
            raise UserError(_no_such_class("prompts.label_descriptions", key, [*names, *plain]))
        if len(matches) > 1:
            same = ", ".join(repr(names[i]) for i in matches[:3])
            raise UserError(f"prompts.label_descriptions names {key!r}, which fits {same}. Name them in full")
        result[matches[0]] = text
    for name, cleaned, text in zip(names, plain, result, strict=True):
        chosen_by_user = name in mapped or text != cleaned
        if not chosen_by_user and _is_opaque(text):
            raise UserError(
                f"class {name!r} is an opaque id, which no text-to-image model knows. "
                f"Say what it shows with --source.label_names '{{{name}: ...}}' or prompts.label_descriptions"
            )
    return result


def _is_opaque(text: str) -> bool:
    """Returns whether a name says nothing about what the class shows: a number, a wnid, a hash, `class_12`."""
    return not any(c.isalnum() for c in text) or any(pattern.fullmatch(text.strip()) for pattern in _OPAQUE)


def _no_such_class(field: str, key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or list(names[:3])
    return f"{field} names {key!r}, which is no class of the dataset; the nearest: {', '.join(map(repr, near))}"


def template_fields(template: str) -> set[str]:
    """Returns the placeholders of a template except {label}, {kind} and {context}: columns of the source.

    Raises:
        UserError: braces that do not pair, or a placeholder that is not a plain name.
    """
    names = {field for _, field in template_pieces(TEMPLATES.get(template, template)) if field is not None}
    return names - {"label", "kind", "context"}


def render_prompt(
    template: str, label: str, kind: str, context: str, fields: Mapping[str, str | None] | None = None
) -> str:
    """Returns the prompt P_c of one class in one context (Eq. 4).

    A piece between commas whose placeholders are all empty is left out with its comma. `a` before a placeholder becomes
    `an` before a vowel sound, and is left out where the value has an article of its own.

    Args:
        template: `caption`, `paper`, or a text with placeholders.
        label: the text for {label}.
        kind: the text for {kind}, the noun of a Kind; may be empty.
        context: the text for {context}; may contain {label} and {kind} itself.
        fields: values of the other placeholders, by column.

    Raises:
        UserError: a placeholder without a value.
    """
    values = {**(fields or {}), "label": label, "kind": kind}
    values["context"] = _fill(context, values) if "{" in context or "}" in context else context
    return _fill(TEMPLATES.get(template, template), values)


def _fill(template: str, values: Mapping[str, str | None]) -> str:
    """Returns a template with its values; see render_prompt for articles and empty pieces."""
    segments: list[str] = [""]
    for text, field in template_pieces(template):
        *done, rest = text.split(",")
        for piece in done:
            segments[-1] += piece
            segments.append("")
        if field is None:
            segments[-1] += rest
            continue
        if field not in values:
            raise UserError(f"{template!r} has the placeholder {{{field}}}, which has no value here")
        value = " ".join(str(values[field] or "").translate({0: " ", 1: " "}).split())
        article = re.search(r"(?:^|(?<=\s))(an?|the)\s+$", rest, re.IGNORECASE)
        if article:
            own = re.match(r"(an?|the|some)\s", value, re.IGNORECASE)
            rest = rest[: article.start()] + ("" if own else _ARTICLES.get(article[1][0], article[1]) + " ")
        segments[-1] += rest + value
    line = " ".join(",".join(segment for segment in segments if segment.strip(" \0\1")).split())
    line = re.sub(r"([\0\1]) (\S+)", lambda m: f"{_article(m[2], m[1] == _ARTICLES['A'])} {m[2]}", line)
    return re.sub(r" +,", ",", " ".join(line.translate({0: None, 1: None}).split()))


def _article(word: str, capital: bool) -> str:
    """Returns `a` or `an` by the first sound of the next word."""
    word = word.lstrip("\"'([“‘")
    if spelled := _SPOKEN_BY_LETTERS.match(word):
        an = spelled[0][0].upper() in "AEFHILMNORSX"
    elif word[:1].isdigit():
        an = word[0] == "8" or re.match(r"(11|18)(?!\d)", word) is not None
    else:
        sound = unicodedata.normalize("NFD", word[:1]).lower()[:1]
        an = (sound in ("a", "e", "i", "o", "u") and not _VOWEL_SPOKEN_AS_CONSONANT.match(word)) or bool(
            _SILENT_H.match(word)
        )
    return ("An" if capital else "an") if an else ("A" if capital else "a")


def contexts_of(prompts: PromptsConfig, kind: str) -> tuple[str, ...]:
    """Returns the contexts of the counterparts: the recipe's own, else those of the paper's template or of the kind."""
    if prompts.contexts is not None:
        return prompts.contexts
    return PAPER_CONTEXTS if prompts.template == "paper" else KINDS[kind].contexts


def negatives_of(prompts: PromptsConfig, kind: str) -> tuple[tuple[str, ...], bool]:
    """Returns the terms of the negative prompt, and whether they are the built-in ones of the kind.

    A built-in term that clashes with a label or context is dropped; a term of the user that clashes is an error.
    """
    builtin = KINDS[kind].negatives
    if prompts.negatives is None or prompts.negatives == builtin:
        return builtin, True
    return prompts.negatives, False


def contradicts(term: str, text: str) -> bool:
    """Returns whether one of the two texts contains the other, as whole words and without regard to case."""
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
        terms: what the images must not show; a term is dropped where it clashes with the label or the context.
        labels: the K names of classes in prompts.
        contexts: the C contexts.
        builtin: whether the terms are the built-in ones of the kind.

    Returns:
        K tuples of C texts, None where no term is left; and the number of terms dropped over all of them.

    Raises:
        UserError: a term of the user (`builtin` false) that clashes with a label or a context.
    """
    words = [_words(term) for term in terms]
    all_words: set[str] = set()
    all_words.update(*words)
    by_context = [_clashing(words, context) for context in contexts]

    def prompts_without(by_label: set[int]) -> tuple[tuple[str | None, ...], int]:
        """The prompts of one class by context, and the number of terms that they lack in all."""
        dropped = [clashing | by_label for clashing in by_context]
        texts = [", ".join(term for i, term in enumerate(terms) if i not in lost) or None for lost in dropped]
        return tuple(texts), sum(map(len, dropped))

    usual = prompts_without(set())
    prompts, count = [], 0
    for label in labels:
        # Most labels share no word with any term; they all have the same prompts.
        by_label = set() if all_words.isdisjoint(_words(label)) else _clashing(words, label)
        if by_label and not builtin:
            raise UserError(_contradiction(terms[min(by_label)], "label", label))
        texts, dropped = prompts_without(by_label) if by_label else usual
        prompts.append(texts)
        count += dropped
    if not builtin:
        for context, clashing in zip(contexts, by_context, strict=True):
            if clashing:
                raise UserError(_contradiction(terms[min(clashing)], "context", context))
    return prompts, count


def _clashing(words: Sequence[list[str]], text: str) -> set[int]:
    """Returns the indices of the terms (as lists of words) that clash with a label or context."""
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
        tokenize: text -> all its tokens with start and end. Without it words are counted, which are fewer than tokens.
        max_length: the most tokens that the text encoder takes.
    """
    warnings = []
    for prompt in dict.fromkeys(prompts):
        count = len(tokenize(prompt)) if tokenize else len(prompt.split()) + 2
        if count > max_length:
            about = "" if tokenize else "at least "
            warnings.append(f"{about}{count} tokens, the text encoder takes {max_length} and drops the end: {prompt!r}")
    return warnings

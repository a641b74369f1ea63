"""The two prompts of Eq. 4: what is asked for (P_c) and what is steered away from (P_n).

Owns label names, templates and clashes. The words of each kind are core/kinds.py; which unit gets which context is
augmentation/plan.py. Pure functions of texts; no model, no files.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized

from diffcore_hf.config.augment import Prompts
from diffcore_hf.config.kinds import KINDS, PAPER_CONTEXTS, TEMPLATES, Kind, template_pieces
from diffcore_hf.core.errors import UserError

__all__ = [
    "KINDS",
    "PAPER_CONTEXTS",
    "TEMPLATES",
    "Kind",
    "clashes",
    "clean_label",
    "contexts_of",
    "lint",
    "negative_prompts",
    "negatives_of",
    "prompt_names",
    "render_prompt",
    "template_fields",
]

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
_ARTICLES = {"a": "\0", "A": "\1"}  # stand for a/an and A/An until the word after them is known
_SAYS_YOU = re.compile(r"(uni(?!n|m)|us[aeiu]|ut[ei]|eu|ewe|ufo|uk|ub?iq|one\b|once\b|ura|uru|uga)", re.IGNORECASE)
_SILENT_H = re.compile(r"(hour|heir|honest|honou?r)", re.IGNORECASE)
_SPELLED = re.compile(r"[A-Za-z](?=[\d\-/.]|$)|[A-Z]{2,3}(?=[\d\-/,;]|$)|[B-DF-HJ-NP-TV-Z]{2,}\b")


def clean_label(name: str) -> str:
    """A class name as one would write it: no numbering, underscores, file-system leavings or runs of blanks.

    `001.Black_footed_Albatross` -> `Black footed Albatross`; digits that belong to the name stay (`2012 BMW M3`,
    `747-400`, `A320`), and so does its spelling. Empty only where the name has no letter and no digit.
    """
    text = unicodedata.normalize("NFC", name).replace("%20", " ")
    text = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).replace("\\", " ").strip()
    plain = " ".join(text.split())
    text = _NUMBERING.sub("", _WNID_PREFIX.sub("", plain)).replace("_", " ")
    # A slash belongs to type names (F-16A/B, F/A-18) and otherwise parts a path.
    words = [w if any(c.isdigit() for c in w) else w.replace("/", " ") for w in text.split()]
    text = " ".join(" ".join(words).split()).strip(" .-_~/,;:")
    for best in (text, plain):
        if any(c.isalnum() for c in best):
            return best
    return ""


def prompt_names(
    names: Sequence[str], label_names: str | Mapping[str, str] = "clean", descriptions: Mapping[str, str] | None = None
) -> list[str]:
    """What stands for {label} in the prompts of each class, in the order of `names`.

    Args:
        names: the dataset's class names.
        label_names: `clean`, `raw` or a map old -> new; classes that the map leaves out are cleaned.
        descriptions: a map from a class (its name in the dataset or in prompts) to the words that replace it.

    Raises:
        UserError: a key that fits no class or several; a class whose name is an opaque id.
    """
    mapped = {} if isinstance(label_names, str) else dict(label_names)
    for key in mapped:
        if key not in names:
            raise UserError(_no_such_class("source.label_names", key, names))
    plain = [mapped.get(name) or (name if label_names == "raw" else clean_label(name)) for name in names]
    result = list(plain)
    for key, words in (descriptions or {}).items():
        found = [i for i, name in enumerate(names) if name == key] or [i for i, n in enumerate(plain) if n == key]
        if not found:
            raise UserError(_no_such_class("prompts.label_descriptions", key, [*names, *plain]))
        if len(found) > 1:
            same = ", ".join(repr(names[i]) for i in found[:3])
            raise UserError(f"prompts.label_descriptions names {key!r}, which fits {same}. Name them in full")
        result[found[0]] = words
    for i, (name, text) in enumerate(zip(names, result, strict=True)):
        said = name in mapped or text != plain[i]
        if not said and (not any(c.isalnum() for c in text) or any(p.fullmatch(text.strip()) for p in _OPAQUE)):
            raise UserError(
                f"class {name!r} is an opaque id, which no text-to-image model knows. "
                f"Say what it shows with --source.label_names '{{{name}: ...}}' or prompts.label_descriptions"
            )
    return result


def _no_such_class(field: str, key: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or list(names[:3])
    return f"{field} names {key!r}, which is no class of the dataset; the nearest: {', '.join(map(repr, near))}"


def template_fields(template: str) -> set[str]:
    """The placeholders of a template beyond {label}, {kind} and {context}: columns of the source.

    Raises:
        UserError: braces that do not pair, or a placeholder that is not a plain name.
    """
    names = {field for _, field in template_pieces(TEMPLATES.get(template, template)) if field is not None}
    return names - {"label", "kind", "context"}


def render_prompt(
    template: str, label: str, kind: str, context: str, fields: Mapping[str, str | None] | None = None
) -> str:
    """The prompt P_c of one class in one context (Eq. 4).

    A piece between commas whose placeholders are all empty is left out with its comma; `a` before a placeholder becomes
    `an` where the next word wants it, and goes where the words bring an article of their own.

    Args:
        template: `caption`, `paper`, or a text with placeholders.
        label: what stands for {label}.
        kind: what stands for {kind}, a Kind's noun; may be empty.
        context: what stands for {context}; may hold {label} and {kind} itself.
        fields: values of further placeholders, by column.
    """
    values = {**(fields or {}), "label": label, "kind": kind}
    values["context"] = _fill(context, values) if "{" in context or "}" in context else context
    return _fill(TEMPLATES.get(template, template), values)


def _fill(template: str, values: Mapping[str, str | None]) -> str:
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
    """a or an, by how the word begins when it is said."""
    word = word.lstrip("\"'([“‘")
    if spelled := _SPELLED.match(word):
        an = spelled[0][0].upper() in "AEFHILMNORSX"
    elif word[:1].isdigit():
        an = word[0] == "8" or re.match(r"(11|18)(?!\d)", word) is not None
    else:
        sound = unicodedata.normalize("NFD", word[:1]).lower()[:1]
        an = (sound in ("a", "e", "i", "o", "u") and not _SAYS_YOU.match(word)) or bool(_SILENT_H.match(word))
    return ("An" if capital else "an") if an else ("A" if capital else "a")


def contexts_of(prompts: Prompts, kind: str) -> tuple[str, ...]:
    """The contexts that a class goes through: the recipe's, else those of the paper's template or of the kind."""
    if prompts.contexts is not None:
        return prompts.contexts
    return PAPER_CONTEXTS if prompts.template == "paper" else KINDS[kind].contexts


def negatives_of(prompts: Prompts, kind: str) -> tuple[tuple[str, ...], bool]:
    """The terms of the negative prompt, and whether they are our own (a clash drops them) or the user's (an error)."""
    own = KINDS[kind].negatives
    return (own, True) if prompts.negatives is None or prompts.negatives == own else (prompts.negatives, False)


def clashes(term: str, text: str) -> bool:
    """Whether one of the two, taken as whole words and case-folded, stands inside the other."""
    return _inside(_words(term), _words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _inside(a: list[str], b: list[str]) -> bool:
    short, long = sorted((a, b), key=len)
    return bool(short) and any(long[i : i + len(short)] == short for i in range(len(long) - len(short) + 1))


def negative_prompts(
    terms: Sequence[str], labels: Sequence[str], contexts: Sequence[str], builtin: bool
) -> tuple[list[tuple[str | None, ...]], int]:
    """The prompts P_n (Eq. 4), and how many built-in terms were dropped from them in all.

    Args:
        terms: what is steered away from; a term is dropped where it clashes with the label or the context.
        labels: K names of classes.
        contexts: C contexts.
        builtin: whether the terms are our own.

    Returns:
        K tuples of C texts, None where no term is left; and the number of terms dropped.

    Raises:
        UserError: a term of the user's (`builtin` false) that clashes with a label or a context.
    """
    words = [_words(term) for term in terms]
    every = {word for one in words for word in one}
    unfit = [{place for place, one in enumerate(words) if _inside(one, _words(context))} for context in contexts]

    def without(more: set[int]) -> tuple[tuple[str | None, ...], int]:
        lost = [bad | more for bad in unfit]
        texts = [", ".join(term for place, term in enumerate(terms) if place not in bad) or None for bad in lost]
        return tuple(texts), sum(map(len, lost))

    usual = without(set())
    prompts, dropped = [], 0
    for label in labels:
        said = _words(label)
        # Nearly every label shares no word with any term, and then all of them have the same prompts.
        bad = set() if every.isdisjoint(said) else {place for place, one in enumerate(words) if _inside(one, said)}
        if bad and not builtin:
            raise UserError(_speaks_against(terms[min(bad)], "label", label))
        texts, count = without(bad) if bad else usual
        prompts.append(texts)
        dropped += count
    if not builtin:
        for context, bad in zip(contexts, unfit, strict=True):
            if bad:
                raise UserError(_speaks_against(terms[min(bad)], "context", context))
    return prompts, dropped


def _speaks_against(term: str, what: str, text: str) -> str:
    return (
        f"prompts.negatives has {term!r}, which speaks against the {what} {text!r} that it is used with. "
        f"Leave it out, or say it in words that the {what} does not share"
    )


def lint(prompts: Iterable[str], tokenize: Callable[[str], Sized] | None = None, max_length: int = 77) -> list[str]:
    """Warnings about prompts that the text encoder would cut.

    Args:
        prompts: rendered prompts.
        tokenize: text -> all its tokens with start and end; without it words are counted, which finds less.
        max_length: what the text encoder takes.
    """
    warnings = []
    for prompt in dict.fromkeys(prompts):
        count = len(tokenize(prompt)) if tokenize else len(prompt.split()) + 2
        if count > max_length:
            about = "" if tokenize else "at least "
            warnings.append(f"{about}{count} tokens, the text encoder takes {max_length} and drops the end: {prompt!r}")
    return warnings

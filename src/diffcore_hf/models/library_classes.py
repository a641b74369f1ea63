"""Classes of diffusers and transformers, read from the source files of the installed library without importing it.

An import of these libraries imports torch, which takes seconds and hundreds of megabytes. The resolution of a model
needs only names of classes, parameters and methods. Each function returns None if the source does not give a certain
answer. The caller then imports the library.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class LibraryClass:
    """The definition of one class in the source of a library."""

    name: str
    bases: tuple[str, ...]
    """Names of the base classes."""
    methods: dict[str, tuple[str, ...]]
    """Method that the class itself defines -> names of its parameters, without `self`."""


def scheduler_class(name: str) -> LibraryClass | None:
    """Return a scheduler of diffusers."""
    if not name.isidentifier() or not _exports("diffusers", name):
        return None
    found = _class_in(_files("diffusers", "schedulers/*.py"), name)
    is_scheduler = found is not None and "SchedulerMixin" in found.bases and "__init__" in found.methods
    return found if is_scheduler else None


def pipeline_class(name: str) -> LibraryClass | None:
    """Return a pipeline of diffusers."""
    if not name.isidentifier() or not _exports("diffusers", name):
        return None
    found = _class_in(_files("diffusers", "pipelines/*/pipeline_*.py"), name)
    return found if found is not None and "__call__" in found.methods else None


def is_defined(library: str, pattern: str, name: str) -> bool:
    """Return whether one of the source files of a library can define a class of this name.

    True is returned if the library has no readable source files.
    """
    files = _files(library, pattern)
    if not files:
        return True
    if not name.isidentifier():
        return False
    heading = re.compile(rf"^class {name}\b", re.MULTILINE)
    return any(heading.search(_source(path)) for path in files)


def is_pipeline_folder(name: str) -> bool:
    """Return whether diffusers has a folder of pipelines with this name, which can define further components."""
    root = _root("diffusers")
    return root is not None and name.isidentifier() and (root / "pipelines" / name / "__init__.py").is_file()


def image_to_image_classes() -> dict[str, str]:
    """Return the image-to-image class of each text-to-image pipeline of diffusers that has one; {} if it is unclear."""
    text = _text("diffusers", "pipelines/auto_pipeline.py")
    classes = {}
    for task in ("TEXT2IMAGE", "IMAGE2IMAGE"):
        block = re.search(rf"^AUTO_{task}_PIPELINES_MAPPING = OrderedDict\((.*?)^\)", text, re.MULTILINE | re.DOTALL)
        classes[task] = dict(re.findall(r'\("([\w-]+)", (\w+)\)', block.group(1))) if block else {}
    shared = classes["TEXT2IMAGE"].keys() & classes["IMAGE2IMAGE"].keys()
    return {classes["TEXT2IMAGE"][key]: classes["IMAGE2IMAGE"][key] for key in sorted(shared)}


def tower_class(model_type: str) -> LibraryClass | None:
    """Return the class that `transformers.AutoModel` loads for a model type."""
    listing = _text("transformers", "models/auto/modeling_auto.py")
    block = re.search(r"^MODEL_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)", listing, re.MULTILINE | re.DOTALL)
    named = re.search(rf'\("{re.escape(model_type)}", "(\w+)"\)', block.group(1)) if block else None
    if named is None:
        return None
    module = re.search(rf'\("{re.escape(model_type)}", "(\w+)"\)', _module_names())
    folder = module.group(1) if module else model_type.replace("-", "_")
    found = _class_in(_files("transformers", f"models/{folder}/modeling_*.py"), named.group(1))
    # A base class of another kind may define further methods.
    is_complete = found is not None and all(base.endswith(("PreTrainedModel", "Mixin")) for base in found.bases)
    return found if is_complete else None


def is_captioner(model_type: str) -> bool:
    """Return whether transformers lists a model type that generates a text from an image."""
    listing = _text("transformers", "models/auto/modeling_auto.py")
    block = re.search(r"^MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES = OrderedDict\(\n(.*?)^\)", listing, re.M | re.S)
    return block is not None and f'("{model_type}", ' in block.group(1)


def is_image_processor(name: str) -> bool:
    """Return whether transformers lists an image processor of this name."""
    return name.isidentifier() and f'"{name}"' in _text("transformers", "models/auto/auto_mappings.py")


def is_missing(library: str, name: str) -> bool:
    """Return whether an installed library certainly exports nothing of this name."""
    listing = _text(library, "__init__.py")
    return bool(listing) and f'"{name}"' not in listing


def _module_names() -> str:
    """Return the part of the source of transformers that maps model types to modules."""
    text = _text("transformers", "models/auto/auto_mappings.py")
    return text.partition("SPECIAL_MODEL_TYPE_TO_MODULE_NAME = ")[2].partition("\n)\n")[0]


def _exports(library: str, name: str) -> bool:
    return f'"{name}"' in _text(library, "__init__.py")


@functools.cache
def _root(library: str) -> Path | None:
    """Return the folder of an installed library; None if it is not installed."""
    spec = find_spec(library)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@functools.lru_cache(maxsize=8)
def _text(library: str, inside: str) -> str:
    """Return a source file of a library; "" if it cannot be read."""
    root = _root(library)
    try:
        return (root / inside).read_text(encoding="utf-8") if root is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _source(path: Path) -> str:
    """Return the text of a source file; "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _files(library: str, pattern: str) -> list[Path]:
    root = _root(library)
    return sorted(root.glob(pattern)) if root is not None else []


def _class_in(files: Iterable[Path], name: str) -> LibraryClass | None:
    """Return the class from the first file that defines it at its top level."""
    heading = f"\nclass {name}("
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text) if heading in text else None
        except (OSError, UnicodeDecodeError, SyntaxError):
            continue
        for node in tree.body if tree is not None else ():
            if isinstance(node, ast.ClassDef) and node.name == name:
                bases = tuple(ast.unparse(base).rpartition(".")[2] for base in node.bases)
                return LibraryClass(name, bases, _methods(node))
    return None


def _methods(node: ast.ClassDef) -> dict[str, tuple[str, ...]]:
    functions = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    return {function.name: _parameters(function.args) for function in functions}


def _parameters(arguments: ast.arguments) -> tuple[str, ...]:
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return tuple(argument.arg for argument in listed if argument.arg != "self")

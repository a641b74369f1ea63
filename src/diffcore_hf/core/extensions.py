"""Classes and objects that a user names in a recipe as `module:NAME`, such as a mixer or a check of their own.

Owns how such a name is imported. The module must be importable here: code is never loaded from a dataset or a
repository of the Hub.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

from diffcore_hf.core.errors import UserError

Base = TypeVar("Base")


def load_class(name: str, base: type[Base], key: str) -> type[Base]:
    """Returns the class that `module:Class` names.

    Args:
        name: e.g. `my_package.mixers:MyMixer`.
        base: what it must be a subclass of.
        key: of the recipe, for the message.

    Raises:
        UserError: no such module or class here, or a class of another kind. An error inside the module keeps its
            traceback.
    """
    found = _attribute(name, key)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(_mismatch(name, key, found, f"a subclass of {base.__module__}.{base.__name__}"))
    return found


def load_instance(name: str, kind: type[Base], key: str) -> Base:
    """Returns the object that `module:NAME` names.

    Args:
        name: e.g. `my_package.checks:BLANK`.
        kind: the class of which it must be an instance.
        key: of the recipe, for the message.

    Raises:
        UserError: no such module or name here, or an object of another kind. An error inside the module keeps its
            traceback.
    """
    found = _attribute(name, key)
    if not isinstance(found, kind):
        raise UserError(_mismatch(name, key, found, f"an instance of {kind.__module__}.{kind.__name__}"))
    return found


def _attribute(name: str, key: str) -> Any:
    """Imports the module of `module:NAME` and returns its attribute; None where it has none."""
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, and imports something that is not installed
        raise UserError(
            f"{key} is {name!r}, but there is no module {error.name!r} here. Install the package that has it, or put "
            "its folder on PYTHONPATH"
        ) from error
    return getattr(module, attribute, None)


def _mismatch(name: str, key: str, found: object, expected: str) -> str:
    """Returns the message for an attribute that does not exist or is not what was expected."""
    attribute = name.partition(":")[2]
    what = "missing" if found is None else f"not {expected}"
    return f"{key} is {name!r}, but {attribute!r} in that module is {what}. Name {expected}"

"""Classes that a user names in a recipe as `module:Class`, such as a mixer of their own.

Owns how such a name becomes a class. The module must be importable here: code is never loaded from a dataset or a
repository of the Hub.
"""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

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
    module_name, _, class_name = name.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, and imports something that is not installed
        raise UserError(
            f"{key} is {name!r}, but there is no module {error.name!r} here. Install the package that has it, or put "
            "its folder on PYTHONPATH"
        ) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        what = "no such name" if found is None else f"not a subclass of {base.__name__}"
        raise UserError(
            f"{key} is {name!r}, but {class_name!r} in that module is {what}. Name a subclass of "
            f"{base.__module__}.{base.__name__}"
        )
    return found

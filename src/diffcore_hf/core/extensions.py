"""Imports classes and objects that a recipe names as `module:NAME`, such as a mixer or a check of the user.

The module must be installed or on PYTHONPATH. Code is never loaded from a dataset or a repository of the Hub.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

from diffcore_hf.core.errors import UserError

Base = TypeVar("Base")

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""A dotted module name, a colon and a name in that module."""


def load_class(name: str, base: type[Base], key: str) -> type[Base]:
    """Returns the class that `module:Class` names.

    Args:
        name: e.g. `my_package.mixers:MyMixer`.
        base: the required base class.
        key: key of the recipe, for the message.

    Raises:
        UserError: the module or class does not exist, it is not a subclass of `base`, or it is abstract. An
            error inside the module keeps its traceback.
    """
    attribute = _attribute(name, key)
    if not (isinstance(attribute, type) and issubclass(attribute, base)):
        raise UserError(_mismatch(name, key, attribute, f"a subclass of {base.__module__}.{base.__name__}"))
    if missing := ", ".join(_abstract_methods(attribute)):
        raise UserError(
            f"{key} is {name!r}, an abstract class without {missing}. Name a subclass that defines {missing}"
        )
    return attribute


def _abstract_methods(cls: type) -> list[str]:
    """Returns the names of the abstract methods of a class, even if its metaclass does not collect these names."""
    names = {name for base in cls.__mro__ for name in vars(base)}
    found = (name for name in names if getattr(inspect.getattr_static(cls, name), "__isabstractmethod__", False))
    return sorted(found)


def load_instance(name: str, kind: type[Base], key: str) -> Base:
    """Returns the object that `module:NAME` names.

    Args:
        name: e.g. `my_package.checks:BLANK`.
        kind: the required class of the object.
        key: key of the recipe, for the message.

    Raises:
        UserError: the module or name does not exist, or the object is not of class `kind`. An error inside the
            module keeps its traceback.
    """
    attribute = _attribute(name, key)
    if not isinstance(attribute, kind):
        raise UserError(_mismatch(name, key, attribute, f"an instance of {kind.__module__}.{kind.__name__}"))
    return attribute


def load_function(name: str, key: str) -> Callable[..., Any]:
    """Returns the function that `module:NAME` names.

    Args:
        name: e.g. `my_package.pictures:draw`.
        key: key of the recipe, for the message.

    Raises:
        UserError: the module or name does not exist, or the object is not a function. An error inside the module keeps
            its traceback.
    """
    attribute = _attribute(name, key)
    if not callable(attribute) or isinstance(attribute, type):
        raise UserError(_mismatch(name, key, attribute, "a function"))
    return attribute


def _attribute(name: str, key: str) -> Any:
    """Imports the module of `module:NAME` and returns the object NAME; None if the module does not have it."""
    if not NAME.fullmatch(name):
        raise UserError(f"{key} is {name!r}, which does not have the form module:NAME. Use e.g. my_package.module:NAME")
    module_name, _, attribute_name = name.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists but imports a module that is not installed
        raise UserError(
            f"{key} is {name!r}, but there is no module {error.name!r}. Install its package, or put its folder on "
            "PYTHONPATH"
        ) from error
    return getattr(module, attribute_name, None)


def _mismatch(name: str, key: str, attribute: object, expected: str) -> str:
    """Returns the message for an attribute that does not exist or has the wrong type."""
    attribute_name = name.partition(":")[2]
    problem = "missing" if attribute is None else f"not {expected}"
    return f"{key} is {name!r}, but {attribute_name!r} in that module is {problem}. Name {expected}"

"""Tests of classes and objects that a recipe names: valid names are imported, others give a one-line error."""

from abc import ABC, abstractmethod

import pytest

from diffcore_hf.core.errors import UserError
from diffcore_hf.core.extensions import load_class, load_instance

ANSWER = 42


class Abstract(dict, ABC):
    """A class with an abstract method."""

    @abstractmethod
    def compute(self): ...


def test_a_class_and_an_object_are_loaded_by_name():
    assert load_class("collections:OrderedDict", dict, "mixer.name").__name__ == "OrderedDict"
    assert load_instance(f"{__name__}:ANSWER", int, "filter.checks") == 42


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "form module:NAME"),
        (":Class", "form module:NAME"),
        ("module:", "form module:NAME"),
        (".module:Class", "form module:NAME"),
        ("a b:Class", "form module:NAME"),
        ("../module:Class", "form module:NAME"),
        ("module:Class.method", "form module:NAME"),
        ("https://host/x:Class", "form module:NAME"),
        ("no_such_module:Class", "no module 'no_such_module'"),
        ("json.no_such_module:Class", "no module 'json.no_such_module'"),
        ("json:Missing", "'Missing' in that module is missing"),
        ("json:JSONDecoder", "not a subclass of builtins.dict"),
        (f"{__name__}:Abstract", "an abstract class without compute. Name a subclass that defines compute"),
    ],
)
def test_a_name_that_cannot_be_used_gives_a_one_line_error(name, message):
    with pytest.raises(UserError, match=message) as error:
        load_class(name, dict, "mixer.name")
    assert str(error.value).startswith(f"mixer.name is {name!r}") and "\n" not in str(error.value)

"""Functions of a user that return the contexts of a recipe: one that is valid and one that is not."""


def own_contexts():
    return ["", "in a field"]


def no_contexts():
    return "in a field"


def half_a_character():
    return ["in snow", "in \ud800"]


def with_arguments(number):
    return ["in snow"] * number

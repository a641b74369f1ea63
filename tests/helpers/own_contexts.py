"""Functions of a user that return the contexts of a recipe: one that is valid and one that is not."""


def own_contexts():
    return ["", "in a field"]


def no_contexts():
    return "in a field"

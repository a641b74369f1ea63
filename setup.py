"""Names the packages of the wheel; everything else about the project is in pyproject.toml.

The recipes and the card templates are stored at the top of the repository, where people look for them, and are
installed as package data of diffcore_hf. Automatic discovery in pyproject.toml cannot add them to the packages of src.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("src"), "diffcore_hf.hub_cards", "diffcore_hf.recipes"],
    package_dir={"": "src", "diffcore_hf.hub_cards": "hub_cards", "diffcore_hf.recipes": "recipes"},
)

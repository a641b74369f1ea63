"""Folders of photos for the tests of data sources: folders with given names, and random trees."""

from __future__ import annotations

import os
import random
from pathlib import Path

from small_photos import picture


def write(path: Path, content: bytes) -> Path:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_images(root: Path, *folders: str, count: int = 4) -> Path:
    """Writes `count` photos into each of `folders` below `root`.

    An item of `folders` that ends in .jpg or .png is the path of a single photo instead.
    """
    number = sum(len(names) for _, _, names in os.walk(root))
    for folder in folders:
        single = folder.endswith((".jpg", ".png"))
        for path in [folder] if single else [f"{folder}/{index}.jpg" for index in range(count)]:
            write(root / path, picture(number % 6, number))
            number += 1
    return root


def entries(root: Path) -> set[str]:
    """Returns the entries that are not folders. Entries behind a link, and links to folders, are left out."""
    found = set()
    for folder, _, names in os.walk(root):
        found |= {os.path.relpath(os.path.join(folder, name), root) for name in names}
    return found


def below_link(root: Path, path: str) -> bool:
    """Returns whether a path contains a link to a folder, or is such a link."""
    steps = Path(path).parts
    return any((root / Path(*steps[: end + 1])).is_symlink() and (root / Path(*steps[: end + 1])).is_dir()
               for end in range(len(steps)))  # fmt: skip


def random_tree(base: Path, draw: random.Random) -> Path:
    root, outside = base / "root", base / "outside"
    folders = [root]
    names = ["cat", "train", "test tubes", "$HOME", "a[1]", ".hid", "val", "x::y", "{q}", "__MACOSX"]
    for _ in range(draw.randint(1, 8)):
        folders.append(draw.choice(folders) / draw.choice(names))
    for folder in [*folders, outside / "dogs"]:
        folder.mkdir(parents=True, exist_ok=True)
    contents = [picture(0, 0), picture(0, 1, image_format="PNG"), b"", b"text", b"PK\x03\x04", b"a,b\n"]
    suffixes = [".jpg", ".Png", "", ".csv", ".heic", ".jpg?x=1"]
    for number in range(draw.randint(0, 25)):
        folder = draw.choice([*folders, outside / "dogs"])
        write(folder / f"{draw.choice(['', '.', 'train_'])}f{number}{draw.choice(suffixes)}", draw.choice(contents))
    for number in range(draw.randint(0, 8)):
        target = draw.choice([*folders, outside, outside / "dogs", base / "nowhere", Path("/dev/null")])
        link = draw.choice(folders) / f"link{number}"
        link.symlink_to(target if draw.random() < 0.5 else os.path.relpath(target, link.parent))
    if draw.random() < 0.5:
        os.mkfifo(draw.choice(folders) / "pipe")
    return root

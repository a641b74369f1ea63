"""Checks every relative link and anchor of the Markdown files in the repository.

    python docs/_build/check_links.py [FILE ...]

MkDocs checks the links inside the site. This script also checks README.md, CONTRIBUTING.md and links to files outside
docs/. It prints one line for each broken link and exits with 1 if there is one.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Returns the anchors that MkDocs and GitHub give to the headings of a Markdown text."""
    found: set[str] = set()
    for heading in HEADING.findall(CODE.sub("", text)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = unicodedata.normalize("NFKD", plain).lower()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()))
    return found


def broken_links(file: Path) -> Iterator[str]:
    """Yields `file: link: reason` for each relative link that leads to no file or no heading."""
    text = file.read_text(encoding="utf-8")
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", CODE.sub("", text))):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists():
            yield f"{file.relative_to(ROOT)}: {link}: no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{file.relative_to(ROOT)}: {link}: no such heading"


def main(files: Sequence[str]) -> int:
    """Checks the given files, or every Markdown file at the top, in docs/ and in .github/."""
    pages = [Path(file).resolve() for file in files]
    pages = pages or sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/**/*.md")])
    broken = [line for page in pages for line in broken_links(page)]
    print("\n".join(broken) or f"{len(pages)} files: every link has a target")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

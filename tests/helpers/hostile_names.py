"""Class names that are hard to process: texts that YAML, Markdown, HTML, Jinja or a terminal could change.

The file hostile_names.json groups them: words and numbers of YAML, quotes, markup, control characters, line breaks,
characters that reverse the text or are invisible, scripts, long names, and white space at the ends.
"""

from __future__ import annotations

import json
from pathlib import Path


def hostile_names() -> list[str]:
    """Return 329 different names in a fixed order."""
    names: list[str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="ascii"))
    return names

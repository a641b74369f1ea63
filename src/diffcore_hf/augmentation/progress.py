"""Progress: the one progress bar of a run."""

from __future__ import annotations

from typing import Any


class Progress:
    """Shows how many images of a run are done.

    Args:
        done: number of images that exist already.
        shown: false shows nothing.
    """

    def __init__(self, done: int, *, shown: bool):
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(
            initial=done,
            desc="augment",
            unit="image",
            disable=not shown,
            smoothing=0.1,
            dynamic_ncols=True,
        )
        self._bar.set_postfix_str("real images")
        self.added = 0
        """Sum of the numbers that `add` received."""

    def add(self, count: int) -> None:
        """Show that `count` more images are done."""
        self.added += count
        self._bar.update(count)

    def expect(self, due: int) -> None:
        """Show that `due` more images are expected."""
        self._bar.total = self._bar.n + due
        self._bar.refresh()

    def describe(self, text: str) -> None:
        """Show a text after the bar."""
        self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()

# SPDX-License-Identifier: Apache-2.0
"""Findings: everything that is wrong with the files of a data set, said before training starts."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from convsmith.errors import FormatError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Findings:
    """Collects what is wrong, file by file."""

    def __init__(self, data: str | Path) -> None:
        self._data, self._lines = data, list[str]()

    def add(self, file: Path | str, what: str) -> None:
        """One file is not fit to train on, and why."""
        self._lines.append(f"{file}: {what}")

    def image(self, file: Path) -> Image.Image | None:
        """An image of a file, decoded whole; None, and a finding, where that fails."""
        try:
            with Image.open(file) as opened:
                opened.load()
        except UNREADABLE as error:
            self.add(file, f"no readable image: {error}")
            return None
        if opened.mode.startswith(("I", "F")):  # a conversion to 8 bits would cut the values off
            self.add(file, f"its pixels are of mode {opened.mode}; those of an image have 8 bits")
            return None
        return opened

    def close(self) -> None:
        """End the inspection.

        Raises:
            FormatError: if anything was found; all of it is in the message.
        """
        if self._lines:
            listed = "\n  ".join(self._lines)
            raise FormatError(
                f"data {self._data}: {len(self._lines)} files or folders cannot be used:\n"
                f"  {listed}"
            )

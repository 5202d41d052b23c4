# SPDX-License-Identifier: Apache-2.0
"""The demonstration of `convsmith scan`: a page of handwritten digits, and what was read where.

The page holds digits that no training has seen, at random places. `digits_vgg` gives scores for
every window of 32 x 32 pixels; where a digit is, plain ink says: much in the window, little around.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convsmith.cli.options import print_json, result_console
from convsmith.cli.scan_progress import ScanView

SIDE, WINDOW, STEP = 640, 32, 2  # pixels: the page, the network's input, between two answers
CORE = 64  # answers of a tile along each axis: the page is larger than one
DIGITS, APART = 100, 36  # on the page; pixels from one to the next at least
_AROUND = 8  # pixels on each side in which ink speaks against a window
_LEAST_INK = 0.06  # of a full window
_HIT = 8  # pixels off at most for a digit to count as found


@dataclass(frozen=True)
class Placed:
    """A digit, and the corner of the window around it."""

    row: int
    column: int
    digit: int

    def is_near(self, other: Placed, pixels: int) -> bool:
        """Whether both corners lie within so many pixels along each axis."""
        return max(abs(self.row - other.row), abs(self.column - other.column)) <= pixels


def show(folder: Path, *, seed: int, as_json: bool, quiet: bool) -> None:
    """Write the page, scan it, and show what was read."""
    from convsmith import models
    from convsmith.scanning import scan

    model = models.create("digits_vgg", weights="embedded")
    page, written, alone = make_page(seed, model)
    folder.mkdir(parents=True, exist_ok=True)
    file = _keep(folder / "page.png", page)
    with ScanView(quiet=quiet) as view:
        result = scan(
            model,
            file,
            folder / "scores",
            output_stride=STEP,
            core=CORE,
            announce=view.announce,
            progress=view.progress,
        )
    scores = result.store.read(tuple(slice(0, size) for size in result.plan.outputs))
    found = read_page(page, scores)
    right = [digit for digit in found if _is_right(digit, written)]
    picture = folder / "read.png"
    draw(page, found, written).save(picture)
    report = {
        "digits": len(written),
        "found": sum(any(digit.is_near(other, _HIT) for other in found) for digit in written),
        "right": len(right),
        "right_alone": alone,
        "page": str(file),
        "picture": str(picture),
        "scan": result.to_json(),
    }
    if as_json:
        print_json(report)
    else:
        _tell(report)


def make_page(seed: int, model: Any) -> tuple[np.ndarray, list[Placed], int]:
    """A page, what is written on it, and how many of these digits the classifier reads when it is
    shown each alone.
    """
    import torch

    from convsmith.training import digits

    images, classes = digits.held_out(model.preprocess)
    dice = np.random.default_rng(seed)
    page = np.zeros((SIDE, SIDE), np.uint8)
    placed: list[Placed] = []
    chosen = dice.permutation(len(images))[:DIGITS].tolist()
    for number in chosen:
        while True:
            row, column = (int(at) for at in dice.integers(0, SIDE - WINDOW + 1, 2))
            here = Placed(row, column, int(classes[number]))
            if not any(here.is_near(other, APART - 1) for other in placed):
                break
        ink = ((images[number, 0] * 0.5 + 0.5) * 255).round().to(torch.uint8).numpy()
        page[row : row + WINDOW, column : column + WINDOW] = ink
        placed.append(here)
    with torch.no_grad():
        answers = model.eval()(images[chosen]).argmax(1)
    return page, placed, int((answers == classes[chosen]).sum())


def read_page(page: np.ndarray, scores: np.ndarray) -> list[Placed]:
    """What is read: the windows with most ink, each silencing those it overlaps, and for each the
    digit with the highest score.
    """
    evidence = _evidence(page)
    found: list[Placed] = []
    while evidence.max() >= _LEAST_INK:
        row, column = (int(at) for at in np.unravel_index(evidence.argmax(), evidence.shape))
        digit = int(scores[:, row, column].argmax())
        found.append(Placed(row * STEP, column * STEP, digit))
        near = 3 * WINDOW // 4 // STEP
        window = np.s_[
            max(0, row - near) : row + near + 1, max(0, column - near) : column + near + 1
        ]
        evidence[window] = -1
    return found


def _evidence(page: np.ndarray) -> np.ndarray:
    """Of every window a step apart: its mean ink, less twice the ink in the band around it."""
    ink = page.astype(np.float64) / 255
    inside = _sums(ink, WINDOW)
    outside = _sums(np.pad(ink, _AROUND), WINDOW + 2 * _AROUND) - inside
    return ((inside - 2 * outside) / WINDOW**2)[::STEP, ::STEP]


def _sums(values: np.ndarray, side: int) -> np.ndarray:
    """The sum of every square window."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]


def _is_right(digit: Placed, written: Sequence[Placed]) -> bool:
    return any(digit.is_near(w, _HIT) and digit.digit == w.digit for w in written)


def draw(page: np.ndarray, found: Sequence[Placed], written: Sequence[Placed]) -> Any:
    """The page with a frame around every digit that was found and what it was read as: green where
    that is right, red where it is not; grey frames were missed.
    """
    from PIL import Image, ImageDraw, ImageFont

    scale = 2
    picture = Image.fromarray(255 - page).convert("RGB").resize((SIDE * scale, SIDE * scale))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=11 * scale)
    for digit in (*(w for w in written if not any(w.is_near(f, _HIT) for f in found)), *found):
        colour = "#999999" if digit in written and digit not in found else "#c62828"
        if digit in found and _is_right(digit, written):
            colour = "#2e7d32"
        left, top = digit.column * scale, digit.row * scale
        side = WINDOW * scale - 1
        pen.rectangle((left, top, left + side, top + side), outline=colour, width=scale)
        if digit in found:
            pen.text((left + 2 * scale, top), str(digit.digit), fill=colour, font=font)
    return picture


def _keep(file: Path, page: np.ndarray) -> Path:
    """Write the page unless it lies there: a file that changed is another image to a scan."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(page).save(data, format="png")
    if not file.is_file() or file.read_bytes() != data.getvalue():
        file.write_bytes(data.getvalue())
    return file


def _tell(report: dict[str, Any]) -> None:
    result_console.print(
        f"\na page of {SIDE} x {SIDE} pixels with {report['digits']} handwritten digits, none of "
        f"them used in training\n"
        f"  found        {report['found']} of {report['digits']}\n"
        f"  read right   {report['right']} of {report['digits']}\n"
        f"  shown alone  {report['right_alone']} of {report['digits']} are read right\n\n"
        f"  the page:            {report['page']}\n"
        f"  what was read where: {report['picture']}\n"
        f"  every score:         {report['scan']['folder']} (Zarr, one answer every {STEP} pixels)",
        highlight=False,
    )

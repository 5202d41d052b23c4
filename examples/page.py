# SPDX-License-Identifier: Apache-2.0
"""LeNet-5 slid over a page of handwritten digits, against every window by itself.

    python examples/page.py [--quick] [--data-root FOLDER]

Its fifth layer is a linear one on an image of 32 pixels and a convolution on a larger one, so that
one pass over the page gives the answer of every window, four pixels apart. The network learns from
MNIST; the digits of the page are held out. About a minute on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recording import options, record, tiles
from torch import Tensor, nn

import convsmith as cs
from convsmith.models import find
from convsmith.models.classification.lenet5 import LeNet5, digit_codes
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.timing import interleaved
from convsmith.training import train_network, training_data

SIDE, WINDOW, STEP, DIGITS = 320, 32, 4, 40
# The hues of the ten digits, around the circle.
COLOURS = np.array(
    [
        *((228, 26, 28), (255, 127, 0), (230, 200, 0), (120, 190, 30), (0, 130, 60)),
        *((0, 170, 180), (55, 110, 220), (90, 50, 170), (190, 60, 190), (120, 80, 50)),
    ],
    np.float64,
)


class OnePass(nn.Module):
    """The network on the whole page: its linear layers are asked at every place of the map."""

    def __init__(self, classifier: LeNet5) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, h, w) to (1, 10, (h - 32) / 4 + 1, (w - 32) / 4 + 1)."""
        maps = self.classifier.features(x)
        scores = self.classifier.classifier(maps.movedim(1, -1).flatten(0, 2))
        return scores.T.reshape(1, 10, *maps.shape[2:])


class WindowByWindow(nn.Module):
    """The classifier on every window of its size, `STEP` pixels apart, alone."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, h, w) to (1, 10, (h - 32) / 4 + 1, (w - 32) / 4 + 1)."""
        rows = x.unfold(2, WINDOW, STEP).unfold(3, WINDOW, STEP)
        windows = rows[0, 0].reshape(-1, 1, WINDOW, WINDOW)
        return self.classifier(windows).T.reshape(1, 10, *rows.shape[2:4])


def written(data_root: Any) -> tuple[Tensor, list[tuple[int, int, int]], Tensor]:
    """A page, (row, column, digit) of what is written on it, and each digit by itself."""
    data = training_data("mnist", find("lenet5").preprocess, root=data_root)
    images, classes = data.held_out.batch(range(DIGITS))
    dice = np.random.default_rng(0)
    page = torch.full((1, 1, SIDE, SIDE), float(images.min()))
    places: list[tuple[int, int, int]] = []
    for image, digit in zip(images, classes.tolist(), strict=True):
        while True:
            row, column = (STEP * int(at) for at in dice.integers(0, (SIDE - WINDOW) // STEP, 2))
            if all(max(abs(row - r), abs(column - c)) >= WINDOW for r, c, _ in places):
                break
        page[0, :, row : row + WINDOW, column : column + WINDOW] = image
        places.append((row, column, digit))
    return page, places, images


def picture(page: Tensor, places: Sequence[tuple[int, int, int]], scores: Tensor) -> str:
    """The page, each digit in the hue of what it is read as; the winner of every window; the codes
    that the network compares with, in their hues.
    """
    winners = scores[0].argmax(0).numpy()
    ink = ((page[0, 0] - page.min()) / (page.max() - page.min())).numpy()[..., None]
    hues = np.zeros((SIDE, SIDE, 3))
    for row, column, _ in places:
        hue = COLOURS[winners[row // STEP, column // STEP]]
        hues[row : row + WINDOW, column : column + WINDOW] = hue
    read = 255 * (1 - ink) + hues * ink
    answers = np.full((SIDE, SIDE, 3), 255.0)
    # An answer stands in the middle of its window.
    large = COLOURS[winners].repeat(STEP, 0).repeat(STEP, 1)
    first = (SIDE - len(large)) // 2
    answers[first : first + len(large), first : first + len(large)] = large
    drawn = digit_codes().reshape(2, 5, 12, 7, 1).numpy() > 0
    codes = np.where(drawn, COLOURS.reshape(2, 5, 1, 1, 3), 255).swapaxes(1, 2).reshape(24, 35, 3)
    shown = [pixels.astype(np.uint8) for pixels in (read, answers, codes)]
    names = ["read as, at each digit's place", "the winner of every window", "hues and codes"]
    return tiles([shown], [""], names, side=320)


def main() -> None:
    """Train, slide, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    recipe = {"epochs": 1 if given.quick else 3}
    model = train_network("lenet5", "mnist", recipe, data_root=given.data_root).model
    page, places, images = written(given.data_root)
    assert isinstance(model, LeNet5)
    sliding, alone = OnePass(model).eval(), WindowByWindow(model).eval()
    with torch.inference_mode():
        scores, expected = sliding(page), alone(page)
        by_itself = model(images).argmax(1)
    right = sum(
        int(scores[0, :, row // STEP, column // STEP].argmax()) == digit
        for row, column, digit in places
    )
    times = interleaved(alone, sliding, Inputs((page,), {}), budget_s=0.5 if given.quick else 10.0)
    windows = scores[0, 0].numel()
    macs = [
        windows * cs.analyze(model, (1, 1, WINDOW, WINDOW)).total.macs.all,
        cs.analyze(sliding, tuple(page.shape)).total.macs.all,
    ]
    ms = [times.before.median_ms, times.after.median_ms]
    found = {
        "windows": windows,
        "macs": macs,
        "ms": ms,
        "largest_difference": float((scores - expected).abs().max()),
        "right": right,
        "right_by_itself": int((by_itself == torch.tensor([p[2] for p in places])).sum()),
        "digits": DIGITS,
    }
    names = ("every window by itself", "one pass over the page")
    record(
        "page",
        given,
        title="LeNet-5 slid over a page",
        words=f"A page of {SIDE} x {SIDE} pixels with {DIGITS} digits of MNIST that were held out, "
        f"{windows:,} windows of {WINDOW} x {WINDOW}, {STEP} pixels apart. Their answers differ by "
        f"{found['largest_difference']:.1g} at most; {right} of the {DIGITS} digits are read right "
        f"at their place on the page, {found['right_by_itself']} by themselves. In the picture, "
        "places between digits are answered too: the network was never shown what is none.",
        columns=["way", "MACs", "ms"],
        rows=[[n, f"{m:,}", f"{t:,.1f}"] for n, m, t in zip(names, macs, ms, strict=True)],
        data=found,
        picture=picture(page, places, scores),
    )


if __name__ == "__main__":
    main()

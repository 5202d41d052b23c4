# SPDX-License-Identifier: Apache-2.0
"""Clips of real handwritten digits that move: the class is the way they go, one of eight.

Which digit it is says nothing, and neither does any single frame: where a clip begins is drawn so
that every way leads through the same places. Only a window over time can tell.

    place(t) = middle + speed · (t - 7.5) · way + jitter of the start

The digits are those of `digits`; clips that are held out show digits that are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convsmith.models import Preprocess
from convsmith.training.data import TrainingData
from convsmith.training.datasets import digits
from convsmith.training.datasets.images import ImageSet
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Classification

FRAMES, WAYS = 16, 8
_TRAIN, _HELD_OUT = 320, 80
_SIDE = 0.3  # of a digit, of the frame
_SPEED = (0.015, 0.035)  # of the frame's side, each frame
_JITTER = 0.1
_NOISE = 12.0  # grey levels


@dataclass(frozen=True, kw_only=True)
class MovingSet:
    """Clips by their numbers, which choose digit, way and speed. A batch is `(x, y)`: x (n, c, 16,
    size, size), y the ways, from 0 (right) on, by an eighth of a turn.
    """

    numbers: Sequence[int]
    digits: ImageSet
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The clips of these indices, drawn."""
        chosen = [self.numbers[i] for i in indices]
        steps = self.preprocess
        frames = (Image.fromarray(frame) for number in chosen for frame in self._clip(number))
        x = torch.stack([steps(frame.convert(steps.colour)) for frame in frames])
        ways = torch.tensor([number % WAYS for number in chosen])
        return x.unflatten(0, (len(chosen), FRAMES)).transpose(1, 2), ways

    def part(self, indices: Sequence[int]) -> MovingSet:
        """The clips of these indices as a set of their own."""
        return replace(self, numbers=[self.numbers[i] for i in indices])

    def _clip(self, number: int) -> np.ndarray:
        rng = np.random.default_rng(number)
        size = self.preprocess.size
        side = max(4, round(_SIDE * size))
        pixels = np.asarray(self.digits.images)[number % len(self.digits)]
        digit = np.asarray(Image.fromarray(pixels).resize((side, side)), np.float64)
        turn = 2 * np.pi * (number % WAYS) / WAYS
        way = np.array([-np.sin(turn), np.cos(turn)])  # down is positive
        times = np.arange(FRAMES) - (FRAMES - 1) / 2
        middle = 0.5 + rng.uniform(-_JITTER, _JITTER, 2)
        places = middle + rng.uniform(*_SPEED) * times[:, None] * way
        corners = np.clip(np.rint(places * size - side / 2), 0, size - side).astype(int)
        clip = np.zeros((FRAMES, size, size))
        for frame, (row, column) in zip(clip, corners, strict=True):
            frame[row : row + side, column : column + side] = digit
        clip += rng.normal(0, _NOISE, clip.shape)
        return np.clip(np.rint(clip), 0, 255).astype(np.uint8)


def load(preprocess: Preprocess, root: Path | None = None) -> TrainingData:
    """320 clips to train on and 80 held out, of digits that are held out.

    Raises:
        UnsupportedError, FormatError: see `digits.load`.
    """
    found = digits.load(preprocess)
    parts = []
    for numbers, part in (
        (range(_TRAIN), found.train),
        (range(_TRAIN, _TRAIN + _HELD_OUT), found.held_out),
    ):
        assert isinstance(part, ImageSet)
        parts.append(MovingSet(numbers=numbers, digits=part, preprocess=preprocess))
    return TrainingData(
        train=parts[0],
        held_out=parts[1],
        task=Classification(),
        recipe=Recipe(batch_size=8, lr=1e-3, epochs=5, shift=0),
        options={"num_classes": WAYS},
    )

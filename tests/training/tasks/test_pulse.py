# SPDX-License-Identifier: Apache-2.0
"""The loss of a pulse, and what is measured of it."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.training import Recipe
from convsmith.training.tasks import Pulse
from convsmith.training.tasks.pulse import correlation

TASK = Pulse(frames_per_second=16.0)


def wave(beats_a_minute: float, phase: float = 0.0) -> Tensor:
    seconds = torch.arange(128) / 16.0
    return torch.cos(2 * math.pi * beats_a_minute / 60 * seconds + phase)[None]


def test_the_correlation_of_known_series() -> None:
    a = torch.tensor([[1.0, 2, 3, 6]])
    b = torch.tensor([[1.0, 0, 0, 3]])
    # About their means 3 and 1: (-2, -1, 0, 3) and (0, -1, -1, 2).
    assert float(correlation(a, b)) == pytest.approx(7 / math.sqrt(14 * 6), rel=1e-6)
    assert float(correlation(a, -5 * a + 2)) == pytest.approx(-1, rel=1e-6)


def test_the_loss_asks_for_the_shape_alone() -> None:
    y = wave(70)
    assert float(TASK.loss(1e-3 * y + 4, y, Recipe())) == pytest.approx(0, abs=1e-4)
    assert float(TASK.loss(-y, y, Recipe())) == pytest.approx(2, rel=1e-6)


def test_another_number_of_frames_is_an_error() -> None:
    said = r"outputs \(1, 128\); films with changes \(1, 127\) need one number for each"
    with pytest.raises(ArgumentError, match=said):
        TASK.loss(wave(70), wave(70)[:, 1:], Recipe())


class Listed:
    """Films that are their own answers, and the true ones."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.x[list(indices)], self.y[list(indices)]

    def part(self, indices: Sequence[int]) -> "Listed":
        return Listed(*self.batch(indices))


class Same(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_the_error_of_the_rate_in_beats_a_minute() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    x = torch.cat([wave(60), wave(100)])
    y = torch.cat([wave(66, phase=1.0), wave(98, phase=1.0)])
    found = TASK.measure(Same(), Listed(x, y), 1)
    assert found["held_out_error_bpm"] == pytest.approx((6 + 2) / 2, abs=0.3)
    alike = TASK.measure(Same(), Listed(y, y), 2)
    assert alike["held_out_error_bpm"] == 0
    assert alike["held_out_correlation"] == pytest.approx(1, rel=1e-6)

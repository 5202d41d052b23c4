# SPDX-License-Identifier: Apache-2.0
"""A class for every pixel: the loss, the measures by hand, and a network that learns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.training import Recipe, train_network
from convsmith.training.draws import Draws
from convsmith.training.tasks import IGNORED, Segmentation

TASK = Segmentation(num_classes=2, window=4)


class Fixed:
    """Examples given as tensors."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.x[list(indices)], self.y[list(indices)]

    def part(self, indices: Sequence[int]) -> "Fixed":
        return Fixed(*self.batch(indices))


class Threshold(nn.Module):
    """Class 1 where the image is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % 32 == x.shape[-2] % 32 == 0
        return torch.cat([-x, x], 1) * self.weight


def test_the_loss_is_the_mean_over_pixels_with_a_class() -> None:
    scores = torch.randn(2, 2, 3, 3, requires_grad=True)
    y = torch.randint(0, 2, (2, 3, 3))
    y[0, 0] = IGNORED
    known = y != IGNORED
    loss = TASK.loss(scores, y, Recipe())
    by_hand = -scores.log_softmax(1).gather(1, y.clamp(min=0)[:, None])[:, 0][known]
    assert TASK.weight(y) == len(by_hand) == 15
    torch.testing.assert_close(loss, by_hand.mean())
    nothing = TASK.loss(scores, torch.full_like(y, IGNORED), Recipe())
    assert nothing.item() == 0.0


def test_scores_of_other_places_or_classes_are_an_error() -> None:
    y = torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(ArgumentError, match=r"outputs \(1, 3, 4, 4\); maps \(1, 4, 4\) of 2 class"):
        TASK.loss(torch.zeros(1, 3, 4, 4), y, Recipe())


def test_the_measures_by_hand() -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    x = torch.tensor([1.0, 1, 1, -1, -1, -1]).reshape(1, 1, 2, 3)
    y = torch.tensor([1, 1, 0, 0, 0, IGNORED]).reshape(1, 2, 3)
    found = TASK.measure(Threshold(), Fixed(x, y), 1)
    # Class 0: two of three; class 1: two of three.
    assert found["held_out_miou"] == pytest.approx(2 / 3, rel=1e-6)
    assert found["held_out_pixel_accuracy"] == pytest.approx(4 / 5, rel=1e-6)


def test_windows_are_mirrored_with_their_maps() -> None:
    x = torch.arange(64.0).reshape(1, 1, 8, 8).expand(20, 1, 8, 8)
    draws = Draws(images=20, generator=torch.Generator().manual_seed(0))
    images, maps = TASK.augmented(x, x[:, 0].long(), Recipe(flip=True), draws)
    assert images.shape == (20, 1, 4, 4)
    assert torch.equal(images[:, 0].long(), maps)
    assert {bool(window[0, 0] > window[0, 1]) for window in maps} == {True, False}


def test_without_torchmetrics_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("convsmith.training.tasks.metrics.import_module", missing)
    said = r"torchmetrics, which measures segmentation, is not installed; pip install"
    with pytest.raises(UnsupportedError, match=said):
        TASK.measure(Threshold(), Fixed(torch.zeros(0), torch.zeros(0)), 1)


def test_a_network_for_another_task_is_an_error(shared_data: Path) -> None:
    said = "train: digits_vgg is for classification, data membrane for segmentation"
    with pytest.raises(ArgumentError, match=said):
        train_network("digits_vgg", "membrane", data_root=shared_data)


@pytest.mark.slow
def test_unet_learns_membranes(shared_data: Path) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    trained = train_network(
        "unet_small",
        "membrane",
        {"epochs": 20, "lr": 1e-2},
        data_root=shared_data,
        size=96,
        width=0.25,
    )
    # Calling everything a cell gives 0.39.
    assert trained.result.measures["held_out_miou"] > 0.6

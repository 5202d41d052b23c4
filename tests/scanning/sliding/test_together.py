# SPDX-License-Identifier: Apache-2.0
"""A network whose images bear on each other would answer a tile by its neighbours in the batch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import convsmith as cs
from convsmith.errors import UnsupportedError
from convsmith.scanning.sliding import sliding


class Does(nn.Module):
    """A function of an image of two channels."""

    def __init__(self, then: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.then = then

    def forward(self, x: Tensor) -> Any:
        return self.then(x)


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x - x.mean(0, keepdim=True),
    "softmax": lambda x: x.softmax(0),
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1, 0),
    "sum": lambda x: x / (1 + x.sum((0, 1), keepdim=True)),
    "first": lambda x: x + x[:1],
    "running": lambda x: x.cumsum(0),
    "folded": lambda x: x.reshape(-1, *x.shape[2:]).softmax(0).view_as(x),
}


@pytest.mark.parametrize("name", MIXED)
def test_images_that_bear_on_each_other_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"scan: the model \(.*\) mixes the images of a bat"):
        sliding(Does(MIXED[name]), 2, [64, 64])


def test_crops_that_bear_on_each_other_are_refused(tmp_path: Any) -> None:
    crops = nn.Sequential(nn.Flatten(), nn.Linear(2 * 8 * 8, 3), Does(lambda x: x.softmax(0)))
    image, example = torch.rand(2, 20, 20), torch.zeros(1, 2, 8, 8)
    with pytest.raises(UnsupportedError, match=r"softmax.* mixes the images of a batch; tiles run"):
        cs.scan(crops, image, tmp_path, example=example, promise="patch", output_stride=4)


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


ALONE: dict[str, Callable[[Tensor], Tensor]] = {
    "shuffle": shuffled,
    "maps by themselves": lambda x: F.max_pool2d(x.flatten(0, 1)[:, None], 3, 1, 1).view_as(x),
    "einsum": lambda x: torch.einsum("nchw,kc->nkhw", x, torch.ones(3, 2)),
    "channels last": lambda x: F.layer_norm(x.movedim(1, -1), [2]).movedim(-1, 1),
    "pixel shuffle": lambda x: F.pixel_unshuffle(F.pixel_shuffle(torch.cat([x, x], 1), 2), 2),
    "rows": lambda x: (
        F.linear(x.movedim(1, -1).flatten(0, 2), torch.ones(3, 2))
        .view(x.shape[0], *x.shape[2:], 3)
        .movedim(-1, 1)
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_images_that_go_alone_pass(name: str) -> None:
    sliding(Does(ALONE[name]), 2, [64, 64])

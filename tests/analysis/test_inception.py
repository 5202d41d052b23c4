# SPDX-License-Identifier: Apache-2.0
"""Inception v3 (Szegedy et al. 2016, table 1) has a published receptive field of 1311 pixels, at
stride 32 (Araujo et al., Computing receptive fields of convolutional neural networks, 2019).
"""

import torch
from torch import Tensor, nn

import convsmith as cs

ONE, THREE, FIVE, ROW, COLUMN = 1, 3, 5, (1, 7), (7, 1)


def unit(inputs: int, outputs: int, kernel: int | tuple[int, int], **options: int) -> nn.Module:
    is_padded = options.pop("padded", 1)
    size = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(k // 2 * is_padded for k in size)
    convolution = nn.Conv2d(inputs, outputs, size, padding=padding, bias=False, **options)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU())


def way(inputs: int, *steps: tuple[int, int | tuple[int, int]], halved: bool = False) -> nn.Module:
    """Convolutions in a row, (outputs, kernel); the last one without padding and with stride 2."""
    layers = []
    for number, (outputs, kernel) in enumerate(steps, 1):
        is_last = halved and number == len(steps)
        options = {"stride": 2, "padded": 0} if is_last else {}
        layers.append(unit(inputs, outputs, kernel, **options))
        inputs = outputs
    return nn.Sequential(*layers)


class Branches(nn.Module):
    """Side by side, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def pooled(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(inputs, outputs, ONE))


def square(inputs: int, projected: int) -> nn.Module:
    return Branches(
        way(inputs, (64, ONE)),
        way(inputs, (48, ONE), (64, FIVE)),
        way(inputs, (64, ONE), (96, THREE), (96, THREE)),
        pooled(inputs, projected),
    )


def factorised(inner: int) -> nn.Module:
    long = [(inner, ONE), *((inner, k) for k in (COLUMN, ROW, COLUMN)), (192, ROW)]
    return Branches(
        way(768, (192, ONE)),
        way(768, (inner, ONE), (inner, ROW), (192, COLUMN)),
        way(768, *long),
        pooled(768, 192),
    )


def expanded(inputs: int) -> nn.Module:
    def fork(channels: int) -> nn.Module:
        return Branches(unit(channels, 384, (1, 3)), unit(channels, 384, (3, 1)))

    return Branches(
        way(inputs, (320, ONE)),
        nn.Sequential(way(inputs, (384, ONE)), fork(384)),
        nn.Sequential(way(inputs, (448, ONE), (384, THREE)), fork(384)),
        pooled(inputs, 192),
    )


def inception_v3() -> nn.Module:
    stem = [
        *(unit(3, 32, THREE, stride=2, padded=0), unit(32, 32, THREE, padded=0)),
        *(unit(32, 64, THREE), nn.MaxPool2d(3, 2)),
        *(unit(64, 80, ONE), unit(80, 192, THREE, padded=0), nn.MaxPool2d(3, 2)),
    ]
    first_halving = Branches(
        way(288, (384, THREE), halved=True),
        way(288, (64, ONE), (96, THREE), (96, THREE), halved=True),
        nn.MaxPool2d(3, 2),
    )
    second_halving = Branches(
        way(768, (192, ONE), (320, THREE), halved=True),
        way(768, (192, ONE), (192, ROW), (192, COLUMN), (192, THREE), halved=True),
        nn.MaxPool2d(3, 2),
    )
    return nn.Sequential(
        *stem,
        *(square(192, 32), square(256, 64), square(288, 64)),
        *(first_halving, *(factorised(inner) for inner in (128, 160, 160, 192))),
        *(second_halving, expanded(1280), expanded(2048)),
    )


def test_the_published_receptive_field_of_inception_v3() -> None:
    with torch.device("meta"):
        model = inception_v3().eval()
    found = cs.analyze(model, (1, 3, 299, 299))
    assert found.layers[-1].output == (1, 2048, 8, 8)
    assert [(axis.size, axis.stride) for axis in found.cone.axes] == [(1311, 32)] * 2
    # Without the classifier's 2048 x 1000, the 23.8 M of the published model (TF-slim).
    assert found.total.parameters == 21_785_568

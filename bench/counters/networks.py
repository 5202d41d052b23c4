# SPDX-License-Identifier: Apache-2.0
"""What is counted: small networks whose work is a product that anyone can check, and large ones."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAP = (1, 8, 16, 16)
PLACES = 16 * 16


@dataclass(frozen=True)
class Case:
    """A network, the shape that it takes, and its multiply-accumulates without norms and biases."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    macs: int


class Functional(nn.Module):
    """A convolution that is called as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1)


class Patches(nn.Module):
    """A convolution as a matrix times patches."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(16, 72))

    def forward(self, x: Tensor) -> Tensor:
        return (self.kernel @ F.unfold(x, 3, padding=1)).view(-1, 16, 16, 16)


class Involution(nn.Module):
    """Li et al. 2021, as their plain code has it: unfold, multiply, sum; 7x7, one group."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.span = nn.Conv2d(16, 4, 1, bias=False), nn.Conv2d(4, 49, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        kernels = self.span(self.reduce(x)).view(n, 1, 1, 49, h, w)
        patches = F.unfold(x, 7, padding=3).view(n, 1, c, 49, h, w)
        return (kernels * patches).sum(dim=3).view(n, c, h, w)


class Unshared(nn.Module):
    """A kernel of its own at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(8, 9, PLACES))

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 3, padding=1).view(1, 8, 9, PLACES)
        return (patches * self.kernels).sum(2).view(1, 8, 16, 16)


class Twice(nn.Module):
    """One layer that runs two times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.conv(x)))


class Attention(nn.Module):
    """Channels mixed, then attention over all places: q k and then v, four heads of two."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(8, 8, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.mix(x).view(1, 4, 2, PLACES).transpose(2, 3)
        return F.scaled_dot_product_attention(rows, rows, rows)


def conv(*sizes: int, **options: object) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(*sizes, bias=False, **options)  # type: ignore[arg-type]


def transposed(*sizes: int, groups: int = 1) -> Callable[[], nn.Module]:
    return lambda: nn.ConvTranspose2d(*sizes, 4, 2, 1, groups=groups, bias=False)


def listed(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from convsmith import models
        from convsmith.bench.cases.plain import plain

        return plain(models.create(name))  # torch's own layers: some tools know no others

    return build


SMALL = {
    "dense 3x3": Case(conv(8, 16, 3, padding=1), MAP, PLACES * 16 * 72),
    "stride 2, dilation 2": Case(
        conv(8, 16, 3, stride=2, padding=2, dilation=2), MAP, 64 * 16 * 72
    ),
    "depthwise": Case(conv(8, 8, 3, padding=1, groups=8), MAP, PLACES * 8 * 9),
    "padding='same'": Case(conv(8, 16, 3, padding="same"), MAP, PLACES * 16 * 72),
    "transposed 4x4, stride 2": Case(transposed(8, 16), MAP, PLACES * 8 * 16 * 16),
    "the same, depthwise": Case(transposed(8, 8, groups=8), MAP, PLACES * 8 * 16),
    "F.conv2d": Case(Functional, MAP, PLACES * 16 * 72),
    "matrix times patches": Case(Patches, MAP, PLACES * 16 * 72),
    "involution, written out": Case(Involution, (1, 16, 16, 16), PLACES * (64 + 196 + 784)),
    "unshared kernels, written out": Case(Unshared, MAP, PLACES * 72),
    "one layer, run twice": Case(Twice, MAP, 2 * PLACES * 8 * 72),
    "attention": Case(Attention, MAP, PLACES * 64 + 2 * 4 * PLACES**2 * 2),
    "3-D": Case(
        lambda: nn.Conv3d(4, 8, 3, padding=1, bias=False), (1, 4, 8, 8, 8), 512 * 8 * 108
    ),
    "LSTM, 10 steps": Case(
        lambda: nn.LSTM(8, 16, batch_first=True), (1, 10, 8), 10 * 4 * 16 * (8 + 16)
    ),
}  # fmt: skip
# By torch's counter on the meta device, which is right on all of these.
LARGE = {
    "ResNet-50, 224": Case(listed("resnet50"), (1, 3, 224, 224), 3_857_973_248),
    "ResNet-50, 1,024": Case(listed("resnet50"), (1, 3, 1024, 1024), 80_583_016_448),
    "MobileNet v2, 224": Case(listed("mobilenet_v2"), (1, 3, 224, 224), 300_774_272),
    "U-Net, 512": Case(listed("unet_small"), (1, 1, 512, 512), 9_206_497_280),
}

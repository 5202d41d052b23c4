# SPDX-License-Identifier: Apache-2.0
"""Small networks that between them hold every habit of real ones: each is built, given an example,
and captured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree


class Residual(nn.Module):
    """One convolution used twice, in-place activations, a skip by `+=`, a global average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.bn(self.stem(x)))
        y = self.act(self.conv(x))
        y = self.conv(y)
        y += x
        y = F.adaptive_avg_pool2d(self.act(y), 1)
        return self.fc(y.view(y.size(0), -1))


class EncoderDecoder(nn.Module):
    """A skip by `cat` across a pooling and a transposed convolution: sizes must be even."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, padding="same")
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = F.hardtanh_(self.down(x))
        x = self.up(F.max_pool2d(skip, 2))
        return self.out(torch.cat([skip, x], dim=1))


class DictOutput(nn.Module):
    """Several results in a nest of dicts and tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = self.conv(x)
        return {"map": y, "pair": (y.mean(dim=(2, 3)), [y.amax(dim=1)])}


class TwoInputs(nn.Module):
    """A second input by keyword, in a dict, and a number that is baked in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)

    def forward(
        self, x: torch.Tensor, *, extra: dict[str, torch.Tensor], gain: float = 1.0
    ) -> torch.Tensor:
        return self.conv(x) * gain + extra["mask"]


class Signal(nn.Module):
    """One axis: dilated and strided convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2, 4, 5, dilation=2),
            nn.GELU(),
            nn.AvgPool1d(2),
            nn.Conv1d(4, 4, 3, stride=2),
            nn.Dropout(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Volume(nn.Module):
    """Three axes, with a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3, padding=1)
        self.up = nn.ConvTranspose3d(2, 1, 2, stride=2, output_padding=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(F.leaky_relu(self.conv(x), 0.1, inplace=True))


class Flattened(nn.Module):
    """`flatten` into a linear layer: the map's size is fixed by the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(self.fc(torch.flatten(F.relu(self.conv(x)), 1)), dim=1)


class Functional(nn.Module):
    """Own tensors through functional calls; a tied weight; a constant made in forward; a
    non-persistent buffer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 3, 3, 3) * 0.2)
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)
        self.second.weight = self.first.weight
        self.register_buffer("offset", torch.arange(3.0).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.kernel)
        scale = torch.tensor([1.0, 2.0, 0.5])
        return self.second(self.first(x)) * scale[None, :, None, None] + self.offset


class Shuffle(nn.Module):
    """Grouped convolution and a channel shuffle by view and transpose, two branches by `chunk`."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        x = self.grouped(x).view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        left, right = x.chunk(2, dim=1)
        return torch.cat([left, self.depthwise(right)], dim=1)


class Resized(nn.Module):
    """Up-sampling to the size of an earlier map, as segmentation heads do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.silu(self.norm(self.conv(x)), inplace=True)
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class GlobalPool(nn.Module):
    """`avg_pool2d` over the whole map: sizes in space cannot stay free in torch.export."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        x = F.avg_pool2d(x, x.size()[2:])
        return self.fc(x.view(x.size(0), -1))


@dataclass(frozen=True)
class Case:
    """A network, the example it is captured on, and other inputs that it must accept afterwards."""

    build: Callable[[], nn.Module]
    example: tuple[Any, ...]
    others: tuple[tuple[Any, ...], ...] = ()
    kwargs: dict[str, Any] | None = None

    def __str__(self) -> str:
        return self.build.__name__.lower()

    def model(self) -> nn.Module:
        """The network with reproducible weights and batch statistics that are not the initial
        ones.
        """
        torch.manual_seed(0)
        model = self.build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
        return model.eval()


def assert_equal(got: object, expected: object) -> None:
    """Equal structure, and equal tensors bit for bit."""
    leaves, structure = pytree.tree_flatten(got)
    expected_leaves, expected_structure = pytree.tree_flatten(expected)
    assert structure == expected_structure
    for mine, theirs in zip(leaves, expected_leaves, strict=True):
        assert torch.equal(mine, theirs)


def randn(*sizes: int) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(sum(sizes)))


CASES = [
    Case(Residual, (randn(1, 3, 16, 16),), ((randn(3, 3, 9, 13),), (randn(1, 3, 1, 1),))),
    Case(EncoderDecoder, (randn(2, 1, 16, 16),), ((randn(1, 1, 10, 24),),)),
    Case(DictOutput, (randn(2, 3, 11, 11),), ((randn(4, 3, 7, 30),),)),
    Case(TwoInputs, (randn(2, 2, 8, 8),), (), {"gain": 0.5, "extra": {"mask": randn(2, 4, 8, 8)}}),
    Case(Signal, (randn(1, 2, 64),), ((randn(2, 2, 33),),)),
    Case(Volume, (randn(2, 1, 4, 6, 6),), ((randn(1, 1, 3, 5, 4),),)),
    Case(Flattened, (randn(1, 3, 8, 8),), ((randn(5, 3, 8, 8),),)),
    Case(Functional, (randn(2, 3, 8, 8),), ((randn(1, 3, 5, 12),),)),
    Case(Shuffle, (randn(2, 8, 6, 6),), ((randn(1, 8, 5, 7),),)),
    Case(Resized, (randn(2, 3, 16, 16),), ((randn(1, 3, 9, 20),),)),
    Case(GlobalPool, (randn(1, 3, 9, 9),), ((randn(3, 3, 9, 9),),)),
]

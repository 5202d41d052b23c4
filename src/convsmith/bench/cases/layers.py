# SPDX-License-Identifier: Apache-2.0
"""Single layers: one of each kind at the sizes that networks use."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from convsmith import convs
from convsmith.bench.case import Case
from convsmith.bench.cases.blocks import dense_name
from convsmith.bench.results import OURS_LAST

_REPLACED = dense_name(128, 128, 56)
# (channels, side, kernel) of involution's multiply-add; a kernel serves 16 channels
_INVOLUTIONS = [(128, 56, 7), (64, 112, 7), (256, 28, 7), (512, 14, 7), (128, 56, 3)]


def layers() -> list[Case]:
    """Every row of single layers."""
    return [
        *_depthwise(),
        *_dense(),
        *_others(),
        *(_multiply_add(c, side, k) for c, side, k in _INVOLUTIONS),
    ]


def _case(
    name: str,
    group: str,
    build: Callable[[], nn.Module],
    channels: int,
    *sizes: int,
    replaces: str | None = None,
) -> Case:
    where = "x".join(map(str, sizes))
    return Case(
        name=f"{name}, {where}",
        group=group,
        build=build,
        input_shape=(1, channels, *sizes),
        replaces=replaces,
        also=frozenset({OURS_LAST}),
    )


def _depthwise() -> list[Case]:
    def case(
        kernel: int, side: int, name: str = "", multiplier: int = 1, dilation: int = 1
    ) -> Case:
        build = partial(
            convs.DepthwiseConv2d,
            *(128, kernel),
            padding=kernel // 2 * dilation,
            dilation=dilation,
            depth_multiplier=multiplier,
        )
        return _case(f"depthwise {kernel}x{kernel} 128{name}", "depthwise", build, 128, side, side)

    return [
        *(case(kernel, 56) for kernel in (3, 5, 7)),
        case(3, 56, " multiplier 2", multiplier=2),
        *(case(3, 56, f" dilation {d}", dilation=d) for d in (2, 12)),
        *(case(31, side) for side in (56, 14)),
        _case(
            *("depthwise 3x3x3 64", "depthwise", partial(convs.DepthwiseConv3d, 64, 3, padding=1)),
            *(64, 16, 56, 56),
        ),
    ]


def _dense() -> list[Case]:
    """What a network needs beside 3x3 of stride 1: pointwise, strided, first and dilated layers."""

    def case(name: str, layer: Callable[..., nn.Module], *sizes: int, **options: int) -> Case:
        channels, outputs, side = sizes
        build = partial(layer, channels, outputs, **options)
        return _case(f"{name} {channels}->{outputs}", "other dense", build, channels, side, side)

    def square(kernel: int) -> Callable[..., nn.Module]:
        return partial(convs.Conv2d, kernel_size=kernel)

    return [
        case("pointwise", convs.PointwiseConv2d, 64, 256, 56),
        case("pointwise", convs.PointwiseConv2d, 256, 256, 28),
        case("pointwise", convs.PointwiseConv2d, 512, 512, 14),
        case("pointwise stride 2", convs.PointwiseConv2d, 256, 512, 56, stride=2),
        case("3x3 stride 2", square(3), 128, 128, 56, stride=2, padding=1),
        case("3x3 stride 2", square(3), 3, 32, 224, stride=2, padding=1),
        case("7x7 stride 2", square(7), 3, 64, 224, stride=2, padding=3),
        case("5x5", square(5), 64, 64, 28, padding=2),
        *(
            case(f"3x3 dilation {d}", square(3), 128, 128, side, padding=d, dilation=d)
            for d, side in ((12, 56), (12, 33), (18, 33))
        ),
    ]


def _others() -> list[Case]:
    conv, up = partial(convs.Conv2d, 128, 128), convs.ConvTranspose2d

    def one_axis_each() -> nn.Module:
        return nn.Sequential(conv((1, 3), padding=(0, 1)), conv((3, 1), padding=(1, 0)))

    def case(
        name: str, build: Callable[[], nn.Module], channels: int, side: int, **more: str
    ) -> Case:
        return _case(name, "other kinds", build, channels, side, side, **more)

    wide = partial(up, *(21, 21, 16), stride=8, padding=4)
    return [
        case(
            *("grouped 3x3 128, 32 groups", partial(conv, 3, padding=1, groups=32), 128, 56),
            replaces=_REPLACED,
        ),
        case("1x3 then 3x1 128", one_axis_each, 128, 56, replaces=_REPLACED),
        case("transposed 4x4 128 stride 2", partial(up, 128, 128, 4, stride=2, padding=1), 128, 56),
        case("transposed 16x16 21 stride 8", wide, 21, 60),
        case("transposed depthwise 16x16 21 stride 8", partial(wide, groups=21), 21, 60),
        case("involution 7x7 128", partial(convs.Involution2d, 128, 7), 128, 56),
    ]


class GivenKernels(nn.Module):
    """A generator that generates nothing: the multiply-add of involution alone is left."""

    kernels: Tensor

    def __init__(self, kernels: Tensor) -> None:
        super().__init__()
        self.register_buffer("kernels", kernels)

    def forward(self, x: Tensor) -> Tensor:
        """The same kernels for any x."""
        return self.kernels


def _multiply_add(channels: int, side: int, kernel: int) -> Case:
    def build(side: int) -> nn.Module:
        given = GivenKernels(torch.randn(1, channels // 16, kernel**2, side, side))
        return convs.Involution2d(channels, kernel, generator=given)

    def case(side: int, smaller: Case | None = None) -> Case:
        return Case(
            name=f"involution multiply-add {kernel}x{kernel} {channels}, {side}x{side}",
            group="other kinds",
            build=partial(build, side),
            input_shape=(1, channels, side, side),
            also=frozenset({OURS_LAST}),
            smaller=smaller,
        )

    return case(side, smaller=case(side // 4))

# SPDX-License-Identifier: Apache-2.0
"""Single layers and blocks: one of each kind at the sizes that networks use.

A batch-norm and a ReLU follow dense 3x3 layers and both layers of separable blocks; inverted
residuals expand six times.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from convsmith import convs
from convsmith.bench.case import Case
from convsmith.models.mobilenet_v2 import InvertedResidual

# (channels in and out, side of the map) of dense 3x3 layers where multiplying less may pay
_DENSE = [(128, 56), (64, 56), (64, 112), (64, 224), (256, 28), (512, 28), (256, 14), (512, 14)]
_DENSE += [(512, 7)]
# (in, out, side) of depthwise separable blocks, (channels, side) of inverted residuals
_SEPARABLE = [(128, 128, 56), (32, 64, 112), (256, 256, 28), (512, 512, 14)]
_INVERTED = [(24, 56), (32, 28), (64, 14), (96, 14), (160, 7)]
# (channels, side, kernel) of involution's multiply-add; a kernel serves 16 channels
_INVOLUTIONS = [(128, 56, 7), (64, 112, 7), (256, 28, 7), (512, 14, 7), (128, 56, 3)]


def layers() -> list[Case]:
    """Every row of single layers and blocks."""
    return [
        *(_dense(c, side) for c, side in _DENSE),
        *(_separable(c, o, side) for c, o, side in _SEPARABLE),
        *(_inverted(c, side) for c, side in _INVERTED),
        *_depthwise(),
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
    )


def _dense_name(channels: int, side: int) -> str:
    return f"dense 3x3 {channels}, {side}x{side}"


def _dense(channels: int, side: int) -> Case:
    def build() -> nn.Module:
        layer = convs.Conv2d(channels, channels, 3, padding=1, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())

    name = _dense_name(channels, side).partition(",")[0]
    return _case(name, "dense 3x3", build, channels, side, side)


def _separable(channels: int, outputs: int, side: int) -> Case:
    build = partial(
        convs.DepthwiseSeparableConv2d,
        *(channels, outputs, 3),
        padding=1,
        bias=False,
        norm=nn.BatchNorm2d,
        activation=nn.ReLU,
    )
    return _case(
        f"separable 3x3 {channels}->{outputs}",
        "separable blocks",
        build,
        *(channels, side, side),
        replaces=_dense_name(channels, side) if channels == outputs else None,
    )


def _inverted(channels: int, side: int) -> Case:
    build = partial(InvertedResidual, channels, channels, 1, 6, norm=True, padding=1)
    return _case(f"inverted residual {channels}", "separable blocks", build, channels, side, side)


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


def _others() -> list[Case]:
    conv, up = partial(convs.Conv2d, 128, 128), convs.ConvTranspose2d

    def one_axis_each() -> nn.Module:
        return nn.Sequential(conv((1, 3), padding=(0, 1)), conv((3, 1), padding=(1, 0)))

    return [
        _case(
            "pointwise 256", "other kinds", partial(convs.PointwiseConv2d, 256, 256), 256, 28, 28
        ),
        _case(
            *("grouped 3x3 128, 32 groups", "other kinds", partial(conv, 3, padding=1, groups=32)),
            *(128, 56, 56),
        ),
        *(
            _case(
                *(f"dilated 3x3 128, d={d}", "other kinds"),
                partial(conv, 3, padding=d, dilation=d),
                *(128, side, side),
            )
            for d, side in ((12, 56), (12, 33), (18, 33))
        ),
        _case("1x3 then 3x1 128", "other kinds", one_axis_each, 128, 56, 56),
        _case(
            *("transposed 4x4 128, stride 2", "other kinds"),
            partial(up, *(128, 128, 4), stride=2, padding=1),
            *(128, 56, 56),
        ),
        _case(
            *("transposed 16x16 21, stride 8", "other kinds"),
            partial(up, *(21, 21, 16), stride=8, padding=4),
            *(21, 60, 60),
        ),
        _case(
            *("transposed depthwise 16x16 21, stride 8", "other kinds"),
            partial(up, *(21, 21, 16), stride=8, padding=4, groups=21),
            *(21, 60, 60),
        ),
        _case(
            "involution 7x7 128", "other kinds", partial(convs.Involution2d, 128, 7), 128, 56, 56
        ),
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
            smaller=smaller,
        )

    return case(side, smaller=case(side // 4))

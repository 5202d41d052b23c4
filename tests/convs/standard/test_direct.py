# SPDX-License-Identifier: Apache-2.0
"""What is special to the direct kernel; tests/native/chains holds it to the definition."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import convsmith.convs
from convsmith import native
from convsmith.errors import NativeError
from convsmith.geometry import Geometry
from convsmith.native.chains import Chain, Stage, chain_kernels, run_chain

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

assert convsmith.convs  # its import registers the kernel
DIRECT = chain_kernels()["direct"]


def chain_of(weight: Tensor, **options: Any) -> Chain:
    groups = options.get("groups", 1)
    geometry = Geometry(
        in_channels=weight.shape[1] * groups,
        out_channels=weight.shape[0],
        kernel_size=tuple(weight.shape[2:]),
        stride=(options.get("stride", 1),) * 2,
        padding=((options.get("padding", 0),) * 2,) * 2,
        dilation=(options.get("dilation", 1),) * 2,
        groups=groups,
    )
    return Chain((Stage(geometry),))


def direct(x: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any) -> Tensor:
    chain = chain_of(weight, **options)
    assert DIRECT.serves(chain, tuple(x.shape))
    return run_chain(DIRECT, chain, x, [weight], [bias])


def small_integers(*shape: int) -> Tensor:
    return torch.randint(-8, 9, shape).float()


def both_layouts(x: Tensor) -> list[Tensor]:
    return [x.contiguous(), x.contiguous(memory_format=torch.channels_last)]


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "options"),
    [
        (2, 5, 300, {"padding": 1}),  # wider than a band
        (3, 64, 61, {"stride": 2, "padding": 3}),
        (700, 20, 5, {"padding": 1}),  # deeper than a block, which ends inside a tap
        (64, 48, 33, {"padding": 18, "dilation": 18}),
        (6, 40, 9, {"padding": 9, "dilation": 3}),  # outputs that meet padding alone
        (40, 96, 7, {"padding": 1, "groups": 2}),
    ],
)
def test_equals_the_definition(
    channels: int, outputs: int, size: int, options: dict[str, int]
) -> None:
    kernel = 7 if size == 61 else 3
    x = small_integers(1, channels, min(size, 61), size)
    weight = small_integers(outputs, channels // options.get("groups", 1), kernel, kernel)
    bias = small_integers(outputs)
    want = F.conv2d(x.double(), weight.double(), bias.double(), **options).float()
    for image in both_layouts(x):
        assert torch.equal(direct(image, weight, bias, **options), want)


def test_groups_of_few_channels_are_left_alone() -> None:
    chain = chain_of(small_integers(16, 4, 3, 3), groups=4, padding=1)
    assert not DIRECT.serves(chain, (1, 16, 9, 9))


def test_taps_in_the_padding_are_left_out() -> None:
    """An infinite weight harms only the outputs whose tap meets the image."""
    weight = torch.ones(17, 3, 3, 3)
    weight[:, :, 0] = float("inf")
    for image in both_layouts(torch.ones(1, 3, 4, 9)):
        y = direct(image, weight, padding=1)
        assert y[:, :, 0].isfinite().all()
        assert (y[:, :, 1:] == float("inf")).all()


def test_special_values_reach_their_own_window() -> None:
    x = torch.ones(1, 5, 9, 9)
    x[0, 2, 4, 4] = float("nan")
    weight = small_integers(19, 5, 3, 3)
    for image in both_layouts(x):
        y = direct(image, weight, padding=1)
        assert torch.equal(y.isnan(), F.conv2d(x, weight, padding=1).isnan())


def test_any_number_of_threads_gives_the_same_bits() -> None:
    before = torch.get_num_threads()
    x, weight = torch.randn(1, 70, 31, 19), torch.randn(50, 70, 3, 3)
    try:
        results = []
        for threads in (1, 2, 3, 16):
            torch.set_num_threads(threads)
            results += [direct(image, weight, padding=1) for image in both_layouts(x)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], y) for y in results)


def test_within_the_bound_of_a_float32_sum() -> None:
    """|error| <= (depth + 1) u sum |w x|, u = 2^-24 (Higham, 2002, section 3.1)."""
    x, weight = torch.randn(1, 40, 9, 9), torch.randn(40, 40, 3, 3)
    bound = 361 * 2**-24 * F.conv2d(x.double().abs(), weight.double().abs())
    error = direct(x, weight).double() - F.conv2d(x.double(), weight.double())
    assert (error.abs() <= bound).all()


def test_nothing_is_read_before_the_first_page_or_behind_the_last(between_guards: Tensor) -> None:
    for channels, outputs, stride in [(3, 5, 2), (17, 9, 1), (8, 16, 3)]:
        x = small_integers(1, 7, 6, channels)
        weight = small_integers(outputs, channels, 3, 3)
        for values, axes in ((x, (0, 3, 1, 2)), (x.permute(0, 3, 1, 2), (0, 1, 2, 3))):
            want = F.conv2d(values.permute(axes), weight, stride=stride, padding=1)
            for place in (between_guards[: x.numel()], between_guards[-x.numel() :]):
                image = place.view(values.shape).copy_(values).permute(axes)
                assert torch.equal(direct(image, weight, stride=stride, padding=1), want)


# x, weight, bias, residual, y, n, groups, c, o, h, w, four strides, group_pitch, kernel, out, step,
# padding, dilation, activation
GOOD = [*(0,) * 5, *(0, 1, 4, 5, 9, 9), *(324, 1, 36, 4), 1152, *(3, 3, 9, 9, 1, 1, 1, 1, 1, 1), 0]


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (5, -1, "the sizes do not fit together"),
        (7, 0, "the sizes do not fit together"),
        (11, -1, "the sizes do not fit together"),
        (22, -7, "the sizes do not fit together"),
        (26, 5, "the sizes do not fit together"),
        (5, 2**61, "the sizes overflow 64-bit integers"),
        (8, 2**60, "the sizes overflow 64-bit integers"),
        (13, 2**62, "the sizes overflow 64-bit integers"),
        (24, 2**62, "the sizes overflow 64-bit integers"),
    ],
)
def test_bad_sizes_are_refused_by_value(position: int, value: int, message: str) -> None:
    native.run("direct_conv2d", *GOOD)
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"direct_conv2d refused .*{value}.*: {message}"):
        native.run("direct_conv2d", *integers)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise memory they lack")
def test_too_large_a_scratch_is_refused() -> None:
    integers = list(GOOD)
    integers[5] = 1
    integers[7], integers[12] = 2**40, 2  # channels that are to be gathered
    with pytest.raises(NativeError, match=r"direct_conv2d refused .*: there is no memory"):
        native.run("direct_conv2d", *integers)

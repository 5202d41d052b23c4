# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution in the core: the reference, bit for bit on small integers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convsmith import PointwiseConv1d, PointwiseConv2d, PointwiseConv3d, native
from convsmith.convs.pointwise import core
from convsmith.convs.pointwise.core import linear, mix_channels
from convsmith.convs.pointwise.pointwise import reference
from convsmith.errors import ArgumentError, NativeError
from convsmith.native.epilogue import ACTIVATIONS, activation_number
from convsmith.native.layout import is_channels_last
from convsmith.native.packed import pack_panels

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

LAYOUTS = (torch.contiguous_format, torch.channels_last)
TAILS = (1, 3, 7, 15, 16, 17, 31, 33)


def small_integers(*shape: int) -> Tensor:
    return torch.randint(-8, 9, shape).float()


@pytest.fixture
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    new_output = native.new_output

    def poisoned(*args: Any, **kwargs: Any) -> Tensor:
        return new_output(*args, **kwargs).fill_(float("nan"))

    monkeypatch.setattr(native, "new_output", poisoned)


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_poisoned")
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (7, 13), (5, 31)])
def test_equals_the_reference(size: tuple[int, int], layout: torch.memory_format) -> None:
    for channels, outputs in product(TAILS, TAILS):
        x = small_integers(2, channels, *size).to(memory_format=layout)
        weight, bias = small_integers(outputs, channels, 1, 1), small_integers(outputs)
        for stride in [(1, 1), (2, 3), (9, 1)]:
            got = mix_channels(x, weight, bias, stride)
            assert torch.equal(got, reference(x, weight, bias, stride)), (channels, outputs, stride)


@pytest.mark.usefixtures("_poisoned")
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("channels", [127, 128, 129, 513, 1100])
def test_depth_is_cut_into_blocks(channels: int, layout: torch.memory_format) -> None:
    x = small_integers(1, channels, 5, 9).to(memory_format=layout)
    weight, bias = small_integers(37, channels, 1, 1), small_integers(37)
    residual = small_integers(1, 37, 5, 9)
    got = mix_channels(x, weight, bias, (1, 1), residual=residual, activation="relu")
    assert torch.equal(got, (reference(x, weight, bias) + residual).relu())


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_any_batch(n: int, layout: torch.memory_format) -> None:
    x, weight = small_integers(n, 5, 4, 3).to(memory_format=layout), small_integers(7, 5, 1, 1)
    got = mix_channels(x, weight, None, (1, 1))
    assert got.shape == (n, 7, 4, 3)
    assert torch.equal(got, reference(x, weight))


def images() -> dict[str, Tensor]:
    """Eight channels of 5 x 6 in many orders."""
    last = torch.channels_last
    return {
        "contiguous": small_integers(2, 8, 5, 6),
        "channels last": small_integers(2, 8, 5, 6).to(memory_format=last),
        "every other channel": small_integers(2, 16, 5, 6).to(memory_format=last)[:, ::2],
        "some channels": small_integers(2, 16, 5, 6).to(memory_format=last)[:, 5:13],
        "crop": small_integers(2, 8, 9, 9)[:, :, 2:7, 3:9],
        "crop, channels last": small_integers(2, 8, 9, 9).to(memory_format=last)[:, :, 2:7, 3:9],
        "transposed": small_integers(2, 8, 6, 5).transpose(2, 3),
        "expanded": small_integers(2, 1, 5, 6).expand(2, 8, 5, 6),
        "permuted": small_integers(8, 2, 5, 6).permute(1, 0, 2, 3),
        "misaligned": small_integers(2 * 8 * 5 * 6 + 1)[1:].view(2, 8, 5, 6),
        "one pixel": small_integers(2, 8, 1, 1),
        "one pixel, channels last": small_integers(2, 8, 1, 1).to(memory_format=last),
        "one channel": small_integers(2, 1, 5, 6),
        "one channel, channels last": small_integers(2, 1, 5, 6).to(memory_format=last),
    }


@pytest.mark.parametrize("name", images())
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_any_strides_with_torchs_memory_format(name: str, layout: torch.memory_format) -> None:
    x = images()[name]
    weight = small_integers(6, x.shape[1], 1, 1).to(memory_format=layout)
    theirs = F.conv2d(x, weight)
    ours = mix_channels(x, weight, None, (1, 1))
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()
    residual = small_integers(*theirs.shape)
    assert torch.equal(mix_channels(x, weight, None, (1, 1), residual=residual), ours + residual)


def test_weights_of_any_strides() -> None:
    x = small_integers(1, 8, 4, 5)
    weight = small_integers(8, 12, 1, 1).transpose(0, 1)
    for layout in LAYOUTS:
        got = mix_channels(x.to(memory_format=layout), weight, None, (1, 1))
        assert torch.equal(got, reference(x, weight))


def test_one_and_three_axes() -> None:
    x, weight = small_integers(2, 5, 37), small_integers(9, 5, 1)
    assert torch.equal(mix_channels(x, weight, None, (3,)), reference(x, weight, stride=3))
    x, weight = small_integers(2, 5, 3, 4, 7), small_integers(9, 5, 1, 1, 1)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        got = mix_channels(x.to(memory_format=layout), weight, None, (2, 1, 3))
        assert torch.equal(got, reference(x, weight, stride=(2, 1, 3)))
        assert got.is_contiguous(memory_format=layout)


def test_panels_packed_by_the_caller() -> None:
    x, weight = small_integers(2, 19, 5, 6), small_integers(23, 19, 1, 1)
    panels = pack_panels(weight)
    for layout in LAYOUTS:
        got = mix_channels(x.to(memory_format=layout), weight, None, (1, 1), panels=panels)
        assert torch.equal(got, reference(x, weight))


def test_linear() -> None:
    for rows, channels, outputs in product((0, 1, 5, 97), (1, 17, 300), (1, 8, 21)):
        x, weight = small_integers(rows, channels), small_integers(outputs, channels)
        bias = small_integers(outputs)
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
        assert torch.equal(linear(x.t().contiguous().t(), weight), F.linear(x, weight))


TORCH_ACTIVATIONS = {
    "none": lambda v: v,
    "relu": F.relu,
    "relu6": F.relu6,
    "hard_swish": F.hardswish,
    "silu": F.silu,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_activations_and_residual(activation: str, layout: torch.memory_format) -> None:
    """The sums are exact; what follows is a few roundings of numbers near 1, and one exponential
    good to two units in the last place: ten of them bound the difference."""
    x = (small_integers(1, 19, 9, 11) / 4).to(memory_format=layout)
    weight, bias = small_integers(21, 19, 1, 1) / 8, small_integers(21)
    residual = small_integers(1, 21, 9, 11)
    got = mix_channels(x, weight, bias, (1, 1), activation=activation, residual=residual)
    want = TORCH_ACTIVATIONS[activation]((reference(x, weight, bias) + residual).double())
    torch.testing.assert_close(got.double(), want, rtol=10 * 2**-23, atol=1e-37)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_special_values_stay(activation: str, layout: torch.memory_format) -> None:
    """NaN, infinities and large numbers reach the output of their own pixel only."""
    values = [float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 1e-40, -100.0, 90.0, 0.0]
    x = torch.tensor(values).repeat(3).reshape(1, 1, 3, 9).to(memory_format=layout)
    weight = torch.ones(17, 1, 1, 1)
    got = mix_channels(x, weight, None, (1, 1), activation=activation)
    want = TORCH_ACTIVATIONS[activation](x).expand(1, 17, 3, 9)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-35, equal_nan=True)


def test_an_infinite_weight_makes_nan_of_a_zero() -> None:
    weight = torch.zeros(3, 2, 1, 1)
    weight[1, 0] = float("inf")
    for layout in LAYOUTS:
        x = torch.zeros(1, 2, 5, 5).to(memory_format=layout)
        got = mix_channels(x, weight, None, (1, 1))
        assert torch.equal(got.isnan(), F.conv2d(x, weight).isnan())


@pytest.mark.usefixtures("_threads_restored")
def test_any_number_of_threads_and_either_layout_give_the_same_bits() -> None:
    for n, channels, outputs, size in [(1, 70, 50, 31), (3, 300, 170, 3), (1, 600, 33, 7)]:
        x, weight = torch.randn(n, channels, size, size), torch.randn(outputs, channels, 1, 1)
        torch.set_num_threads(1)
        alone = mix_channels(x, weight, None, (1, 1))
        for threads, layout in product((1, 2, 3, 16), LAYOUTS):
            torch.set_num_threads(threads)
            got = mix_channels(x.to(memory_format=layout), weight, None, (1, 1))
            assert torch.equal(got, alone)


def test_within_the_bound_of_a_float32_sum() -> None:
    """|error| <= (depth + 1) u sum |w x|, u = 2^-24 (Higham, 2002, section 3.1)."""
    x, weight = torch.randn(1, 300, 9, 9), torch.randn(40, 300, 1, 1)
    bound = 301 * 2**-24 * F.conv2d(x.double().abs(), weight.double().abs())
    want = F.conv2d(x.double(), weight.double())
    for layout in LAYOUTS:
        got = mix_channels(x.to(memory_format=layout), weight, None, (1, 1))
        assert ((got.double() - want).abs() <= bound).all()


def test_nothing_is_read_beyond_the_last_page(between_guards: Tensor) -> None:
    def at_the_end(values: Tensor) -> Tensor:
        return between_guards[-values.numel() :].view(values.shape).copy_(values)

    for channels, outputs in [(3, 5), (17, 9), (8, 16)]:
        x = small_integers(1, 7, 3, channels)
        weight, bias = small_integers(outputs, channels, 1, 1), small_integers(outputs)
        last, first = x.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2).contiguous()
        want = reference(first, weight, bias)
        assert torch.equal(
            mix_channels(at_the_end(x).permute(0, 3, 1, 2), weight, bias, (1, 1)), want
        )
        assert torch.equal(mix_channels(at_the_end(first), weight, bias, (1, 1)), want)
        for image in (last, first):
            assert torch.equal(mix_channels(image, at_the_end(weight), bias, (1, 1)), want)
            assert torch.equal(mix_channels(image, weight, at_the_end(bias), (1, 1)), want)
            residual = at_the_end(torch.ones_like(want)).view(want.shape)
            got = mix_channels(image, weight, bias, (1, 1), residual=residual)
            assert torch.equal(got, want + 1)


# x, weight, bias, residual, y, n, c, o, three sizes, five strides, activation
GOOD = [0, 0, 0, 0, 0, 0, 4, 5, 1, 3, 3, 36, 1, 0, 12, 4, 0]


@pytest.mark.parametrize(
    "kernel", ["pointwise_channels_last", "pointwise_strassen", "pointwise_contiguous"]
)
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (5, -1, "the sizes do not fit together"),
        (11, -1, "the sizes do not fit together"),
        (16, 5, "the sizes do not fit together"),
        (5, 2**61, "the sizes overflow 64-bit integers"),
        (7, 2**62, "the sizes overflow 64-bit integers"),
        (14, 2**62, "the sizes overflow 64-bit integers"),
    ],
)
def test_bad_sizes_are_refused_by_value(
    kernel: str, position: int, value: int, message: str
) -> None:
    native.run(kernel, *GOOD)
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"{kernel} refused .*{value}.*: {message}"):
        native.run(kernel, *integers)


@pytest.mark.parametrize("kernel", ["pointwise_channels_last", "pointwise_strassen"])
def test_channels_apart_are_refused_as_channels_last(kernel: str) -> None:
    integers = list(GOOD)
    integers[12] = 2
    with pytest.raises(NativeError, match=f"{kernel} refused"):
        native.run(kernel, *integers)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no kernel applies activation 'gelu'; choose one of"):
        activation_number("gelu")


def test_is_channels_last_as_torch_sees_it() -> None:
    for x in images().values():
        theirs = F.conv2d(x, torch.ones(6, x.shape[1], 1, 1)).stride()
        if x.shape[1] > 1 and x.shape[2:] != (1, 1):
            assert is_channels_last(x) == (theirs[1] == 1)
    assert not is_channels_last(torch.ones(2, 3, 4))


def calls_of_kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    run = native.run
    monkeypatch.setattr(native, "run", lambda *args: (calls.append(args[0]), run(*args)))
    return calls


LAYERS = [(PointwiseConv1d, nn.Conv1d), (PointwiseConv2d, nn.Conv2d), (PointwiseConv3d, nn.Conv3d)]


@pytest.mark.parametrize(("ours", "theirs"), LAYERS)
def test_layers_take_the_short_way_without_gradients(
    ours: type[nn.Module], theirs: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_is_no_slower", lambda *_: True)
    calls = calls_of_kernels(monkeypatch)
    layer, twin = ours(8, 16, stride=2), theirs(8, 16, 1, stride=2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(small_integers(*parameter.shape))
    twin.load_state_dict(layer.state_dict())
    x = small_integers(2, 8, *(5,) * (layer.weight.ndim - 2))
    with torch.no_grad():
        assert torch.equal(layer(x), twin(x))
    assert calls == ["pointwise_contiguous"]
    assert layer(x).requires_grad
    assert torch.equal(layer(x), twin(x))
    with torch.no_grad():
        layer.double()(x.double())
    assert calls == ["pointwise_contiguous"]


def test_the_rule_that_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels last with enough work goes to the core; all else stays with torch."""
    calls = calls_of_kernels(monkeypatch)
    layer = PointwiseConv2d(64, 64)
    large, small = torch.zeros(1, 64, 56, 56), torch.zeros(1, 64, 13, 13)
    last = torch.channels_last
    with torch.no_grad():
        layer(large)
        layer(small.to(memory_format=last))
        layer(large[0])  # an image without a batch axis
        with pytest.raises(RuntimeError, match="63"):
            layer(large[:, :63].to(memory_format=last))
        assert not calls
        layer(large.to(memory_format=last))
    assert calls == ["pointwise_channels_last"]


EXACT = """
import torch
from convsmith import native
from convsmith.convs.pointwise.core import mix_channels
from convsmith.convs.pointwise.pointwise import reference
for threads in (1, 2):
    torch.set_num_threads(threads)
    for channels in (1, 3, 16, 33, 600):
        for outputs in (1, 7, 8, 16, 17, 31, 33, 100):
            for layout in (torch.contiguous_format, torch.channels_last):
                x = torch.randint(-8, 9, (2, channels, 7, 11)).float().to(memory_format=layout)
                weight = torch.randint(-8, 9, (outputs, channels, 1, 1)).float()
                bias = torch.randint(-8, 9, (outputs,)).float()
                got = mix_channels(x, weight, bias, (1, 2), activation="relu")
                want = reference(x, weight, bias, (1, 2)).relu()
                assert torch.equal(got, want), (channels, outputs, layout)
print(native.info()["target"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", native.info()["targets_supported"])
def test_every_target_is_exact_on_integers(target: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", EXACT],
        env={**os.environ, "CONVSMITH_TARGET": target},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.stdout.strip() == target, result.stderr

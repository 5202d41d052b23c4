# SPDX-License-Identifier: Apache-2.0
"""The compiled depthwise kernel against the reference, bit for bit on small integers."""

import copy
import ctypes
import mmap
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

from convsmith import DepthwiseConv1d, DepthwiseConv2d, depthwise_conv1d, depthwise_conv2d, native
from convsmith.convs.depthwise import core
from convsmith.convs.depthwise.depthwise import reference
from convsmith.errors import NativeError
from convsmith.geometry import Axis
from convsmith.native.epilogue import ACTIVATIONS

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.fixture(autouse=True)
def _in_inference(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No gradients, the core wherever it serves, and an output that shows what it leaves out."""
    monkeypatch.setattr(core, "may_be_faster", lambda *_: True)
    monkeypatch.setattr(core, "is_faster", lambda *_: True)
    monkeypatch.setattr(
        native, "new_output", lambda like, shape: like.new_full(shape, float("nan"))
    )
    threads = torch.get_num_threads()
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def small_integers(*shape: int) -> Tensor:
    return torch.randint(-8, 9, shape).float()


def case(channels: int, kernel: tuple[int, ...], multiplier: int = 1) -> tuple[Tensor, Tensor]:
    filters = channels * multiplier
    return small_integers(filters, 1, *kernel), small_integers(filters)


def by_core(x: Tensor, weight: Tensor, bias: Tensor | None, **options: Any) -> Tensor:
    """depthwise_conv2d, which must not fall back to torch here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "conv2d", None)
        patch.setattr("convsmith.convs.standard.standard._TORCH_CONV", {})
        return depthwise_conv2d(x, weight, bias, **options)


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("channels", [2, 3, 7, 15, 16, 17, 31, 33])
def test_any_number_of_channels(channels: int, memory_format: torch.memory_format) -> None:
    for threads, kernel, multiplier in product([1, 2], [3, 4], [1, 2, 3]):
        torch.set_num_threads(threads)
        weight, bias = case(channels, (kernel, kernel), multiplier)
        x = small_integers(2, channels, 11, 13).contiguous(memory_format=memory_format)
        want = reference(x, weight, bias, padding=1)
        assert torch.equal(by_core(x, weight, bias, padding=1), want)


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (5, 7), (13, 31), (2, 61)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5), (5, 2), (7, 7), (4, 9), (31, 31)])
def test_any_window(
    size: tuple[int, int], kernel: tuple[int, int], memory_format: torch.memory_format
) -> None:
    """Stride beyond the kernel, kernel beyond the input, and taps that never meet the image."""
    channels = 17 if max(kernel) < 31 else 2  # the reference is slow
    weight, bias = case(channels, kernel)
    x = small_integers(1, channels, *size).contiguous(memory_format=memory_format)
    for stride, dilation in [(1, 1), (1, 2), (2, 1), ((3, 1), (1, 4)), ((1, 5), (3, 1)), (9, 2)]:
        spans = [
            (k - 1) * d for k, d in zip(kernel, torch.nn.modules.utils._pair(dilation), strict=True)
        ]
        padding = tuple((span // 2 + 1, span - span // 2) for span in spans)
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        want = reference(x, weight, bias, **options)
        assert torch.equal(by_core(x, weight, bias, **options), want), options


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("kernel", [3, 5, 7, 9, 11])
def test_maps_of_several_tiles(kernel: int, memory_format: torch.memory_format) -> None:
    for threads, stride in product([1, 2], [1, 2]):
        torch.set_num_threads(threads)
        weight, _ = case(19, (kernel, kernel))
        x = small_integers(1, 19, 67, 131).contiguous(memory_format=memory_format)
        options = {"stride": stride, "padding": kernel // 2}
        want = F.conv2d(x, weight, None, groups=19, **options)
        assert torch.equal(by_core(x, weight, None, **options), want)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_any_batch(n: int) -> None:
    weight, bias = case(5, (3, 3))
    x = small_integers(n, 5, 6, 7)
    got = by_core(x, weight, bias)
    assert got.shape == (n, 5, 4, 5)
    assert torch.equal(got, F.conv2d(x, weight, bias, groups=5))


def test_one_axis() -> None:
    for length, kernel, stride, dilation in product([1, 9, 300], [1, 4, 9], [1, 2], [1, 3]):
        weight, bias = case(17, (kernel,), 2)
        x = small_integers(2, 17, length)
        options = {
            "stride": stride,
            "padding": (((kernel - 1) * dilation, 1),),
            "dilation": dilation,
        }
        want = reference(x, weight, bias, **options)
        assert torch.equal(depthwise_conv1d(x, weight, bias, **options), want)


def test_any_strides_of_the_input() -> None:
    weight, bias = case(9, (3, 3))
    x = small_integers(2, 9, 6, 8)
    wide = small_integers(2, 9, 6, 9)
    channels_last = wide.contiguous(memory_format=torch.channels_last)
    variants = [
        x.transpose(2, 3).contiguous().transpose(2, 3),
        torch.stack([x, x], -1)[..., 0],
        wide[..., 1:],
        channels_last[..., 1:],
        channels_last.flip(3)[:, :, ::2],
        x[:1].expand(3, -1, -1, -1),
        x[:, :1].expand(-1, 9, -1, -1),
        torch.frombuffer(bytearray(4 * 868), dtype=torch.float32, offset=4)[:864].view(2, 9, 6, 8),
    ]
    for variant in variants:
        want = reference(variant, weight, bias, padding=1)
        assert torch.equal(by_core(variant, weight, bias, padding=1), want)


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (1, 4, 1, 1), (2, 4, 1, 6), (1, 2, 5, 1)])
def test_the_result_lies_in_memory_as_torch_would_lay_it(shape: tuple[int, ...]) -> None:
    c = shape[1]
    weight = small_integers(c, 1, 3, 3)
    x = small_integers(*shape)
    for x_format, weight_format in product(FORMATS.values(), FORMATS.values()):
        a = x.contiguous(memory_format=x_format)
        w = weight.contiguous(memory_format=weight_format)
        want = F.conv2d(a, w, padding=1, groups=c)
        got = by_core(a, w, None, padding=1)
        assert torch.equal(got, want)
        for memory_format in FORMATS.values():
            assert got.is_contiguous(memory_format=memory_format) == want.is_contiguous(
                memory_format=memory_format
            )


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
def test_nan_and_infinity_pass_through(memory_format: torch.memory_format) -> None:
    weight, bias = case(17, (3, 3))
    x = small_integers(1, 17, 9, 10)
    x[0, 3, 4, 4], x[0, 16, 0, 9], x[0, 0, 8, 0] = float("nan"), float("inf"), float("-inf")
    x = x.contiguous(memory_format=memory_format)
    want = reference(x, weight, bias, padding=1)
    torch.testing.assert_close(
        by_core(x, weight, bias, padding=1), want, rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
def test_the_input_may_end_where_memory_ends(memory_format: torch.memory_format) -> None:
    """The page after the input may not be read."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 9 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(address + 8 * page), page, 0) == 0
    try:
        for channels, kernel in product([8, 17, 24], [3, 5, 9]):
            count = channels * 7 * 9
            end = torch.frombuffer(memory, dtype=torch.float32, count=8 * page // 4)[-count:]
            end.copy_(small_integers(count))
            x = end.view(1, channels, 7, 9)
            if memory_format is torch.channels_last:
                x = end.view(1, 7, 9, channels).permute(0, 3, 1, 2)
            weight, bias = case(channels, (kernel, kernel))
            want = reference(x.clone(), weight, bias, padding=kernel // 2)
            assert torch.equal(by_core(x, weight, bias, padding=kernel // 2), want)
    finally:
        protect(ctypes.c_void_p(address + 8 * page), page, mmap.PROT_READ | mmap.PROT_WRITE)


TORCH_ACTIVATIONS = {
    "none": nn.Identity(),
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "hard_swish": nn.Hardswish(),
    "silu": nn.SiLU(),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str) -> None:
    """Within four units in the last place of a value of at most 150, for the exponential's sake."""
    axes = [Axis(3, 1, 1, 1), Axis(3, 1, 1, 1)]
    weight, bias = torch.randn(17, 1, 3, 3), torch.randn(17)
    x = torch.randn(1, 17, 9, 10)
    plain = core.convolve(x, weight, bias, axes)
    got = core.convolve(x, weight, bias, axes, activation)
    assert plain is not None
    assert got is not None
    torch.testing.assert_close(got, TORCH_ACTIVATIONS[activation](plain), rtol=1e-6, atol=1e-6)


def test_layers_take_the_short_way_and_follow_their_weights() -> None:
    layer = DepthwiseConv2d(6, 3, padding=1, depth_multiplier=2)
    layer.weight.copy_(small_integers(12, 1, 3, 3))
    layer.bias.copy_(small_integers(12))
    x = small_integers(1, 6, 8, 8)

    def check(module: nn.Module) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("convsmith.convs.standard.standard._TORCH_CONV", {})
            got = module(x)
        assert torch.equal(got, F.conv2d(x, module.weight, module.bias, padding=1, groups=6))

    check(layer)
    layer.weight.data = small_integers(12, 1, 3, 3)
    check(layer)
    layer.weight.data.mul_(2)
    check(layer)
    layer.load_state_dict({"weight": small_integers(12, 1, 3, 3), "bias": small_integers(12)})
    check(layer)
    check(copy.deepcopy(layer))
    check(layer.to(memory_format=torch.channels_last))


def test_what_the_core_does_not_do_is_left_to_torch() -> None:
    layer = DepthwiseConv2d(4, 3)
    x = torch.randn(1, 4, 5, 5)
    assert core.serves(x, layer.weight, layer.bias, 4)
    assert not core.serves(x[0], layer.weight, layer.bias, 4)
    assert not core.serves(x.double(), layer.weight.double(), None, 4)
    assert not core.serves(x, layer.weight, layer.bias, 2)
    with torch.inference_mode(False), torch.enable_grad():
        assert not core.serves(torch.randn(1, 4, 5, 5), DepthwiseConv2d(4, 3).weight, None, 4)
    with pytest.raises(RuntimeError, match="4 channels"):
        layer(torch.randn(1, 2, 5, 5))
    with pytest.raises(RuntimeError, match="Kernel size"):
        layer(torch.randn(1, 4, 2, 5))
    assert DepthwiseConv1d(4, 3)(torch.randn(4, 5)).shape == (4, 3)


# x, weights, bias, residual, y, (n, c, h, w), strides, multiplier, kernel, out, stride, top and
# left, dilation, channels last, activation
GOOD = [0, 0, 0, 0, 0, 0, 4, 5, 5, 100, 25, 5, 1, 1, 3, 3, 5, 5, 1, 1, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (6, -1, "the sizes do not fit together"),
        (13, 0, "the sizes do not fit together"),
        (15, 0, "the sizes do not fit together"),
        (3, 64, "the sizes do not fit together"),  # a residual beside a contiguous y
        (25, 5, "the sizes do not fit together"),
        (5, 2**61, "the sizes overflow 64-bit integers"),
        (18, 2**63 - 1, "the sizes overflow 64-bit integers"),
        (22, 2**62, "the sizes overflow 64-bit integers"),
    ],
)
def test_bad_sizes_are_refused_by_value(position: int, value: int, message: str) -> None:
    native.run("depthwise_conv2d", *GOOD)
    integers = list(GOOD)
    integers[position] = value
    with pytest.raises(NativeError, match=f"refused .*{value}.*: {message}"):
        native.run("depthwise_conv2d", *integers)


def test_packing_refuses_bad_sizes() -> None:
    with pytest.raises(NativeError, match=r"refused \(0, 0, 4, 0\): the sizes do not fit"):
        native.run("depthwise_pack", 0, 0, 4, 0)
    with pytest.raises(NativeError, match=r"refused .*: the sizes overflow"):
        native.run("depthwise_pack", 0, 0, 2**40, 2**40)


@pytest.mark.slow
@pytest.mark.parametrize("target", native.info()["targets_supported"])
def test_every_target(target: str) -> None:
    """This file again, with the target forced."""
    tests = "number_of_channels or any_window or several_tiles or memory_ends or strides_of"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            __file__,
            "-k",
            tests,
            "-p",
            "no:cacheprovider",
        ],
        env={**os.environ, "CONVSMITH_TARGET": target},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_the_core_is_taken_where_torch_is_slow_and_not_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    calls: list[str] = []
    run = native.run
    monkeypatch.setattr(native, "run", lambda name, *n: (calls.append(name), run(name, *n))[1])

    def goes_to_the_core(
        layer: nn.Module, size: int, memory_format: torch.memory_format = torch.contiguous_format
    ) -> bool:
        calls.clear()
        x = torch.randn(1, layer.in_channels, size, size)
        layer(x.contiguous(memory_format=memory_format))
        return "depthwise_conv2d" in calls

    last = torch.channels_last
    for memory_format in FORMATS.values():
        assert goes_to_the_core(
            DepthwiseConv2d(128, 3, padding=1, depth_multiplier=2), 56, memory_format
        )
        assert goes_to_the_core(DepthwiseConv2d(128, 3, padding=12, dilation=12), 56, memory_format)
        assert goes_to_the_core(DepthwiseConv2d(96, 7, padding=3), 56, memory_format)
        assert goes_to_the_core(DepthwiseConv2d(64, 31, padding=15), 14, memory_format)
        assert not goes_to_the_core(DepthwiseConv2d(64, 9, padding=4), 56, memory_format)
        assert not goes_to_the_core(DepthwiseConv2d(16, 7, padding=3), 56, memory_format)
        assert not goes_to_the_core(DepthwiseConv2d(128, 3, padding=1), 7, memory_format)
    for layer in (
        DepthwiseConv2d(128, 3, padding=1),
        DepthwiseConv2d(128, 3, padding=2, dilation=2),
        DepthwiseConv2d(128, 5, padding=2, stride=2),
    ):
        assert goes_to_the_core(layer, 56)
        assert not goes_to_the_core(layer, 56, last)
    assert not goes_to_the_core(DepthwiseConv2d(128, 5, padding=2, stride=3), 112)
    assert not goes_to_the_core(DepthwiseConv2d(64, 3, padding=1, stride=4), 112)

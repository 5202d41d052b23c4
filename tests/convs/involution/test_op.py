# SPDX-License-Identifier: Apache-2.0
"""The multiply-add: core, tap loop and registered op against unfold, bit for bit on integers."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convsmith import native
from convsmith.convs.involution.op import multiply_add
from convsmith.errors import ShapeError
from convsmith.geometry import Axis

OPTIONS = {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1), "dilation": (1, 1)}


def by_unfold(x: Tensor, kernels: Tensor, **o: Any) -> Tensor:
    """The formula with every tap written out: memory of all windows at once."""
    top, bottom, left, right = o["padding"]
    padded = F.pad(x, (left, right, top, bottom))
    windows = F.unfold(padded, o["kernel_size"], o["dilation"], 0, o["stride"])
    n, groups, _, h, w = kernels.shape
    windows = windows.view(n, groups, x.shape[1] // groups, -1, h, w)
    return (windows * kernels[:, :, None]).sum(3).view(n, x.shape[1], h, w)


def small_integers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(-8, 9, shape).to(dtype)


def case(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    channels: int = 6,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    padding = (spans[0] // 2 + 1, spans[0] // 2, spans[1] // 2, spans[1] // 2 + 2)
    out = (
        Axis(kernel[0], stride[0], *padding[:2], dilation[0]).output_size(size[0]),
        Axis(kernel[1], stride[1], *padding[2:], dilation[1]).output_size(size[1]),
    )
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    x = small_integers(2, channels, *size)
    return x, small_integers(2, 3, kernel[0] * kernel[1], *out), options


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (4, 33), (5, 16), (3, 47)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5), (7, 7)])
def test_all_ways_equal_unfold(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    for stride, dilation in product([(1, 1), (2, 3), (3, 1)], [(1, 1), (2, 3)]):
        x, kernels, options = case(size, kernel, stride, dilation)
        want = by_unfold(x, kernels, **options)
        assert torch.equal(multiply_add(x, kernels, **options), want)
        by_taps = multiply_add(x.double(), kernels.double(), **options)
        assert torch.equal(by_taps, want.double())
        registered = torch.ops.convsmith.involution2d(x, kernels, *options.values())
        assert torch.equal(registered, want)


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 9, 17])
@pytest.mark.parametrize("groups", [1, 2])
def test_any_number_of_channels_in_a_group(channels: int, groups: int) -> None:
    for stride in (1, 2, 3):
        x = small_integers(2, groups * channels, 9, 10)
        side = [(size + 4 - 5) // stride + 1 for size in (9, 10)]
        kernels = small_integers(2, groups, 25, *side)
        options = {"kernel_size": (5, 5), "stride": (stride,) * 2, "dilation": (1, 1)}
        options |= {"padding": (2, 2, 2, 2)}
        assert torch.equal(multiply_add(x, kernels, **options), by_unfold(x, kernels, **options))


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_and_strides_are_shared_out(threads: int) -> None:
    """Sizes that are worth a thread: runs of vectors begin within a row, and rings within a map."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for stride, width in product([(1, 1), (2, 2), (1, 3)], [23, 40]):
            x, kernels, options = case((31, width), (7, 7), stride, (1, 1), channels=24)
            want = by_unfold(x, kernels, **options)
            assert torch.equal(multiply_add(x, kernels, **options), want)
    finally:
        torch.set_num_threads(before)


def test_nothing_around_the_inputs_is_read(between_guards: Tensor) -> None:
    for (height, width), stride in product([(4, 5), (3, 17), (7, 33)], [(1, 1), (1, 2), (2, 3)]):
        x, kernels, options = case((height, width), (3, 5), stride, (1, 1))
        want = by_unfold(x, kernels, **options)
        for ends in (slice(None, x.numel()), slice(-x.numel(), None)):
            guarded = between_guards[ends].view(x.shape).copy_(x)
            assert torch.equal(multiply_add(guarded, kernels, **options), want)
        for ends in (slice(None, kernels.numel()), slice(-kernels.numel(), None)):
            guarded = between_guards[ends].view(kernels.shape).copy_(kernels)
            assert torch.equal(multiply_add(x, guarded, **options), want)


def test_the_core_writes_every_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        native, "new_output", lambda like, shape: like.new_full(shape, float("nan"))
    )
    for width in range(1, 40):
        x, kernels, options = case((3, width), (3, 5), (1, 1), (1, 1))
        assert torch.equal(multiply_add(x, kernels, **options), by_unfold(x, kernels, **options))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_any_batch(n: int) -> None:
    x, kernels = small_integers(n, 4, 5, 5), small_integers(n, 2, 9, 3, 3)
    got = multiply_add(x, kernels, **OPTIONS)
    assert got.shape == (n, 4, 3, 3)
    if n:
        assert torch.equal(got, by_unfold(x, kernels, **OPTIONS))


def test_any_strides() -> None:
    x, kernels = small_integers(2, 4, 6, 5), small_integers(2, 2, 9, 3, 3)
    want = by_unfold(x, kernels, **OPTIONS)
    variants = [
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        torch.stack([x, x], -1)[..., 0],
    ]
    for variant in variants:
        assert not variant.is_contiguous()
        assert torch.equal(multiply_add(variant, kernels, **OPTIONS), want)
    turned = kernels.transpose(3, 4).contiguous().transpose(3, 4)
    assert torch.equal(multiply_add(x, turned, **OPTIONS), want)


def test_a_kernel_value_that_meets_padding_does_not_matter() -> None:
    x, kernels, options = case((4, 19), (3, 3), (1, 1), (1, 1))
    want = by_unfold(x, kernels, **options)
    reads_image = by_unfold(torch.ones_like(x[:, :3]), torch.ones_like(kernels), **options)
    assert (reads_image < 9).any()
    for tap in range(9):
        one_tap = torch.zeros_like(kernels)
        one_tap[:, :, tap] = 1
        outside = by_unfold(torch.ones_like(x[:, :3]), one_tap, **options) == 0
        kernels[:, :, tap][outside] = float("nan")
    assert torch.equal(multiply_add(x, kernels, **options), want)
    assert torch.equal(multiply_add(x.double(), kernels.double(), **options), want.double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    x, kernels = torch.randn(1, 2, 9, 9).to(dtype), torch.randn(1, 1, 49, 9, 9).to(dtype)
    options = {"kernel_size": (7, 7), "stride": (1, 1), "padding": (3,) * 4, "dilation": (1, 1)}
    exact = multiply_add(x.double(), kernels.double(), **options)
    got = multiply_add(x, kernels, **options)
    assert got.dtype == dtype
    # One rounding to dtype; the float32 sum before it is off by far less, so one unit covers both.
    unit = torch.finfo(dtype).eps * exact.abs().clamp(min=1)
    assert ((got.double() - exact).abs() <= unit).all()


def test_mixed_types_promote_as_torch_multiplies() -> None:
    x, kernels = small_integers(1, 2, 5, 5), small_integers(1, 1, 9, 3, 3)
    want = by_unfold(x, kernels, **OPTIONS)
    got = multiply_add(x.bfloat16(), kernels, **OPTIONS)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)
    assert torch.equal(multiply_add(x.long(), kernels.long(), **OPTIONS), want.long())


def test_gradients() -> None:
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(1, 1, 9, 2, 2, dtype=torch.float64, requires_grad=True)

    def function(x: Tensor, kernels: Tensor) -> Tensor:
        return multiply_add(x, kernels, **OPTIONS)

    assert torch.autograd.gradcheck(function, (x, kernels))
    assert torch.autograd.gradgradcheck(function, (x, kernels))


def test_float32_gradients_are_exact_on_integers() -> None:
    x = small_integers(2, 4, 7, 6).requires_grad_()
    kernels = small_integers(2, 2, 9, 4, 3).requires_grad_()
    upstream = small_integers(2, 4, 4, 3)
    want = torch.autograd.grad(by_unfold(x, kernels, **OPTIONS), (x, kernels), upstream)
    got = torch.autograd.grad(multiply_add(x, kernels, **OPTIONS), (x, kernels), upstream)
    assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))
    only_x = torch.autograd.grad(multiply_add(x, kernels.detach(), **OPTIONS), x, upstream)
    assert torch.equal(only_x[0], want[0])


@pytest.mark.parametrize(
    ("dtype", "grad"), [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)]
)
def test_opcheck(dtype: torch.dtype, grad: bool) -> None:
    x = torch.randn(2, 4, 5, 4).to(dtype).requires_grad_(grad)
    kernels = torch.randn(2, 2, 2, 3, 3).to(dtype).requires_grad_(grad)
    op = torch.ops.convsmith.involution2d.default
    torch.library.opcheck(op, (x, kernels, (1, 2), (2, 2), (0, 0, 1, 1), (1, 1)))


class MultiplyAdd(nn.Module):
    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        return multiply_add(x, kernels, **OPTIONS)


def test_compile_and_export() -> None:
    x, kernels = small_integers(1, 4, 7, 7), small_integers(1, 2, 9, 4, 4)
    want = by_unfold(x, kernels, **OPTIONS)
    compiled = torch.compile(MultiplyAdd(), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, kernels), want)
    exported = torch.export.export(MultiplyAdd(), (x, kernels))
    assert torch.equal(exported.module()(x, kernels), want)
    assert "convsmith.involution2d.default" in exported.graph_module.code


@pytest.mark.cuda
def test_cuda_takes_the_tap_loop() -> None:
    x, kernels = small_integers(1, 4, 7, 7), small_integers(1, 2, 9, 4, 4)
    got = multiply_add(x.cuda(), kernels.cuda(), **OPTIONS)
    assert torch.equal(got.cpu(), by_unfold(x, kernels, **OPTIONS))


def test_flops_are_twice_the_macs() -> None:
    with FlopCounterMode(display=False) as counter:
        multiply_add(torch.ones(2, 4, 7, 7), torch.ones(2, 2, 9, 4, 4), **OPTIONS)
    assert counter.get_total_flops() == 2 * (2 * 4 * 4 * 4 * 9)


@pytest.mark.parametrize(
    "shape", [(1, 3, 9, 3, 3), (1, 2, 8, 3, 3), (1, 2, 9, 3, 4), (2, 2, 9, 3, 3), (1, 0, 9, 3, 3)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_that_do_not_fit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(1, 4, 5, 5, dtype=dtype)
    message = rf"kernels \({', '.join(map(str, shape))}\) do not fit x \(1, 4, 5, 5\)"
    with pytest.raises(ShapeError, match=message):
        multiply_add(x, torch.ones(shape, dtype=dtype), **OPTIONS)


def test_a_kernel_larger_than_the_padded_input() -> None:
    options = {**OPTIONS, "kernel_size": (9, 3)}
    with pytest.raises(ShapeError, match=r"kernel spans 9 .* only 7"):
        multiply_add(torch.ones(1, 4, 5, 5), torch.ones(1, 2, 27, 1, 3), **options)

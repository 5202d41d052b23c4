# SPDX-License-Identifier: Apache-2.0
"""Linear layers and one-axis convolutions are chains, too."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import convsmith.convs
from convsmith import native
from convsmith.native.chains import as_images, chain_kernels, image_shape, with_axes

needs_core = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")
assert convsmith.convs  # its import registers the kernels

ONES = ([1, 1], [0, 0, 0, 0], [1, 1], [1], ["relu"])


def whole(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).float()


# x, weight, the operator's lists, kernels that serve it, and the same by torch.
SIGNALS = {
    "linear": (
        whole(5, 9),
        whole(17, 9, seed=1),
        ONES,
        {"pointwise", "direct"},
        lambda x, w, b: functional.linear(x, w, b),
    ),
    "pointwise": (
        whole(2, 9, 13),
        whole(17, 9, 1, seed=1),
        ([1, 2], *ONES[1:]),
        {"pointwise", "direct"},
        lambda x, w, b: functional.conv1d(x, w, b, stride=2),
    ),
    "depthwise": (
        whole(2, 17, 13),
        whole(17, 1, 3, seed=1),
        ([1, 1], [0, 0, 2, 2], [1, 2], [17], ["relu"]),
        {"depthwise"},
        lambda x, w, b: functional.conv1d(x, w, b, padding=2, dilation=2, groups=17),
    ),
    "dense": (
        whole(2, 9, 13),
        whole(17, 9, 4, seed=1),
        ([1, 3], [0, 0, 1, 4], [1, 1], [1], ["relu"]),
        {"direct"},
        lambda x, w, b: functional.conv1d(functional.pad(x, (1, 4)), w, b, stride=3),
    ),
}
every_signal = pytest.mark.parametrize("name", SIGNALS)


def convolved(name: str, kernel: str, x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
    bias, residual = rest
    given = [] if bias is None else [bias]
    options = (residual, [bias is not None], *SIGNALS[name][2], kernel)
    return torch.ops.convsmith.convolutions(x, [weight], given, *options)


def by_torch(name: str, x: Tensor, weight: Tensor, *rest: Tensor | None) -> Tensor:
    bias, residual = rest
    formula: Callable[..., Tensor] = SIGNALS[name][4]
    y = formula(x, weight, bias)
    return functional.relu(y if residual is None else y + residual)


@every_signal
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_equal_torch(name: str, dtype: torch.dtype) -> None:
    x, weight, _, kernels, _ = SIGNALS[name]
    x, weight, bias = x.to(dtype), weight.to(dtype), whole(17, seed=2).to(dtype)
    wanted = by_torch(name, x, weight, bias, None)
    residual = whole(*wanted.shape, seed=3).to(dtype)
    assert kernels <= chain_kernels().keys()
    for kernel in (*kernels, "of tomorrow"):
        assert torch.equal(convolved(name, kernel, x, weight, bias, None), wanted)
        with_gaps = torch.stack([x, x], -1)[..., 0]
        got = convolved(name, kernel, with_gaps, weight, None, residual)
        assert torch.equal(got, by_torch(name, x, weight, None, residual))


@every_signal
def test_opcheck(name: str) -> None:
    x, weight, options, kernels, _ = SIGNALS[name]
    for kernel in kernels:
        torch.library.opcheck(
            torch.ops.convsmith.convolutions.default,
            (x, [weight], [whole(17, seed=2)], None, [True], *options, kernel),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )


@every_signal
def test_gradients_and_flops(name: str) -> None:
    x, weight, _, kernels, _ = SIGNALS[name]
    leaves = [t.clone().requires_grad_() for t in (x, weight, whole(17, seed=2))]
    y = convolved(name, min(kernels), *leaves, None)
    wanted = by_torch(name, *leaves, None)
    ours, theirs = (torch.autograd.grad(out.square().sum(), leaves) for out in (y, wanted))
    assert all(map(torch.equal, ours, theirs))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        convolved(name, min(kernels), x, weight, None, None)
    assert counter.get_total_flops() == 2 * wanted.numel() * weight[0].numel()


def test_axes_come_and_go() -> None:
    for shape in ((2, 3), (2, 3, 5), (2, 3, 4, 5)):
        t = torch.zeros(shape)
        assert as_images(t).shape == image_shape(shape)
        assert with_axes(as_images(t), len(shape)).shape == shape

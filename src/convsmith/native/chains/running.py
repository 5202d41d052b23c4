# SPDX-License-Identifier: Apache-2.0
"""One call of a chain kernel: addresses and integers into the core."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from convsmith import native
from convsmith.native.chains.chain import Chain
from convsmith.native.chains.kernel import ChainKernel
from convsmith.native.layout import CHANNELS_LAST


def run_chain(
    kernel: ChainKernel,
    chain: Chain,
    x: Tensor,
    packed: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    residual: Tensor | None = None,
) -> Tensor:
    """The chain's formula by one kernel; nothing is checked but what memory order needs.

    Args:
        kernel: One that serves the chain at this shape.
        x: Shape (N, C, H, W), float32 on the CPU, any strides.
        packed: What `kernel.pack` gave.
        biases: One for each stage, contiguous, or None.
        residual: Shape of the result, or None.

    Returns:
        Shape (N, O, H', W'), channels last.
    """
    if not kernel.takes_any_strides and x.stride(1) != 1:
        x = x.contiguous(memory_format=CHANNELS_LAST[4])
    shape, integers = _sizes(kernel, chain, x.shape, x.stride())
    y = torch.empty(shape, dtype=x.dtype, memory_format=CHANNELS_LAST[4])
    if residual is not None and residual.stride() != y.stride():
        residual = torch.empty_like(y).copy_(residual)
    stages = (a for pair in zip(packed, biases, strict=True) for a in map(_address, pair))
    native.run(kernel.function, x.data_ptr(), *stages, _address(residual), y.data_ptr(), *integers)
    return y


@lru_cache(maxsize=4096)
def _sizes(
    kernel: ChainKernel, chain: Chain, shape: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The output's shape and the kernel's integers, which depend on sizes alone."""
    return chain.output_shape(shape), kernel.integers(chain, shape, strides)


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()

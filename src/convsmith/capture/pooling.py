# SPDX-License-Identifier: Apache-2.0
"""Shapes of one-dimensional max pooling for sizes that are symbols.

Torch computes them in C++ that asks for numbers, so that every length would be fixed; its pooling
of two axes takes symbols. This is used wherever torch asks Python how a call is made of others:
in tracing, never in running.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._C import DispatchKey

_MAX_POOL = torch.ops.aten.max_pool1d.default
_COMPOSED = DispatchKey.CompositeImplicitAutograd


def _max_pool1d(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    row = [1, *kernel_size], [1, *(stride or kernel_size)], [0, *padding], [1, *dilation]
    pooled: Tensor = torch.ops.aten.max_pool2d.default(x.unsqueeze(-2), *row, ceil_mode)
    return pooled.squeeze(-2)


def let_lengths_vary() -> None:
    """Tell torch, unless it knows by itself."""
    if _COMPOSED not in _MAX_POOL.py_kernels:
        _MAX_POOL.py_impl(_COMPOSED)(_max_pool1d)

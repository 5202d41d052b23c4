# SPDX-License-Identifier: Apache-2.0
"""What each kernel tap reads: the slow and obvious way, for references."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from torch import Tensor

from convsmith.geometry import Axis


def windows(
    x: Tensor, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Each tap (r, s, ...) of the kernel with the view of x, already padded, that it reads: one
    element for each output.

    >>> x = torch.arange(5.0)
    >>> [(tap, view.tolist()) for tap, view in windows(x, (2,), (2,), (1,))]
    [((0,), [0.0, 2.0]), ((1,), [1.0, 3.0])]
    """
    outputs = [
        Axis(k, s, dilation=d).output_size(n)
        for n, k, s, d in zip(
            x.shape[-len(kernel_size) :], kernel_size, stride, dilation, strict=True
        )
    ]
    for tap in product(*map(range, kernel_size)):
        first = [r * d for r, d in zip(tap, dilation, strict=True)]
        view: tuple[Any, ...] = tuple(
            slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, outputs, stride, strict=True)
        )
        yield tap, x[..., *view]

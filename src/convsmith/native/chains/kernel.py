# SPDX-License-Identifier: Apache-2.0
"""What a kernel tells about itself, so that a planner can choose it without knowing it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from convsmith.errors import ArgumentError
from convsmith.native.chains.chain import Chain

Ints = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ChainKernel:
    """One way of the compiled core to compute chains.

    The core's function takes addresses first, in this order, then what `integers` gives:

        x, (packed weight, bias or null) for each stage, residual or null, y, integers..., threads

    y and residual lie in channels last; y overlaps none of the others.
    """

    name: str  # unique, as a saved plan and a report name it: "winograd_4x4"
    function: str  # in native/kernels.def
    # Whether it computes this chain on inputs of this shape (N, C, H, W).
    serves: Callable[[Chain, Ints], bool]
    # (chain, weights as torch has them) -> what the function reads instead, one for each stage.
    pack: Callable[[Chain, Sequence[Tensor]], Sequence[Tensor]]
    # (chain, shape of x, strides of x) -> the function's integers behind the addresses.
    integers: Callable[[Chain, Ints, Ints], Ints]
    # Whether x may have any strides; if not, x comes in channels last.
    takes_any_strides: bool = True
    # Sums directly, in ascending order of taps; False where it rounds more (math="fast" only).
    is_direct: bool = True
    # Of several direct kernels that serve a chain, `--no-timing` takes the highest; 0 is never
    # taken unmeasured.
    preference: Callable[[Chain, Ints], int] = lambda chain, shape: 0


_kernels: dict[str, ChainKernel] = {}


def register_kernel(kernel: ChainKernel) -> None:
    """Add a kernel to those that a planner may choose.

    Raises:
        ArgumentError: if the name is taken.
    """
    if kernel.name in _kernels:
        raise ArgumentError(
            f"register_kernel: {kernel.name!r} is registered already; names are unique"
        )
    _kernels[kernel.name] = kernel


def chain_kernels() -> dict[str, ChainKernel]:
    """Every registered kernel by name."""
    return dict(_kernels)

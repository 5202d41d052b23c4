# SPDX-License-Identifier: Apache-2.0
"""Weights in the order that kernels read them, kept beside the original and never stale.

A packed copy belongs to one tensor object and dies with it. It is used only while the tensor still
has the address, shape, strides and version counter that it was made from, and the same fingerprint
of its values: `weight.data.fill_(1)` and writes through numpy pass every counter of torch by. The
fingerprint is a 64-bit hash that any one changed value changes; it reads the weights once for each
call, at a vector every third of a cycle.
"""

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from convsmith.native.core import run

# The widest panel of any target: rounded up to it, panels of every target fit.
_WIDEST_PANEL = 32


@dataclass(frozen=True)
class _Copy:
    key: tuple[object, ...]
    original: weakref.ref[Tensor]
    packed: Tensor


_copies: dict[tuple[int, Callable[[Tensor], Tensor]], _Copy] = {}


def packed(weight: Tensor, pack: Callable[[Tensor], Tensor]) -> Tensor:
    """`pack(weight)`, or the copy that an earlier call made of the same values.

    Args:
        weight: float32 on the CPU. One that is not contiguous is packed anew each time.
        pack: A function of the module level: one weight may be packed in several ways.
    """
    if not weight.is_contiguous():
        return pack(weight)
    place = (id(weight), pack)
    key = _key(weight)
    copy = _copies.get(place)
    if copy is None or copy.original() is not weight or copy.key != key:
        original = weakref.ref(weight, lambda _: _copies.pop(place, None))
        copy = _copies[place] = _Copy(key, original, pack(weight))
    return copy.packed


def _key(weight: Tensor) -> tuple[object, ...]:
    version = 0 if weight.is_inference() else weight._version
    return weight.data_ptr(), version, weight.shape, weight.stride(), fingerprint(weight)


def fingerprint(values: Tensor) -> int:
    """A hash of the bits of contiguous float32 values and of their order."""
    result = ctypes.c_uint64()
    run("fingerprint", values.data_ptr(), values.numel(), ctypes.addressof(result))
    return result.value


def pack_panels(weight: Tensor) -> Tensor:
    """A matrix (columns, depth, 1, ...) as the panels of gemm.h; any strides."""
    columns, depth = weight.shape[:2]
    panels = weight.new_empty(panel_floats(columns, depth))
    run("pack_panels", weight.data_ptr(), panels.data_ptr(), columns, depth, *weight.stride()[:2])
    return panels


def panel_floats(columns: int, depth: int) -> int:
    """What `pack_panels` makes room for, whatever the target."""
    return -(-columns // _WIDEST_PANEL) * _WIDEST_PANEL * depth

# SPDX-License-Identifier: Apache-2.0
"""Every registered kernel on x and y of more than 2^31 elements each.

The batch is one image many times: the same 1 MB of memory, seen at 8192 addresses, and behind them
a last image of its own.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from convsmith import native
from convsmith.native.chains import Chain, ChainKernel, Stage

from .chain_cases import EXACT, KERNELS, convolution, expected, weights_of, whole_numbers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.available(), reason="the compiled core is not built"),
    pytest.mark.skipif(sys.platform != "linux", reason="maps memory as Linux does"),
]

CHANNELS, SIDE = 16, 128
FLOATS = CHANNELS * SIDE * SIDE
IMAGES = 2**31 // FLOATS + 1


def pointwise(channels: int) -> Stage:
    return convolution(channels, channels, 1)


def depthwise(channels: int, kernel: int) -> Stage:
    return convolution(channels, channels, kernel, padding=kernel // 2, groups=channels)


# Chains, and the channels and the side of their images, which have FLOATS numbers all of them.
CASES = [
    (Chain((pointwise(16),)), 16, 128),
    (Chain((pointwise(64),)), 64, 64),
    (Chain((depthwise(16, 1),)), 16, 128),
    (Chain((depthwise(16, 13),)), 16, 128),
    (Chain((depthwise(4096, 15),)), 4096, 8),
    (Chain((depthwise(16, 1), pointwise(16))), 16, 128),
    (Chain((depthwise(64, 1), pointwise(64))), 64, 64),
    (Chain((pointwise(16), depthwise(16, 1), pointwise(16))), 16, 128),
    (Chain((convolution(16, 16, 1, groups=8),)), 16, 128),
    (Chain((convolution(16, 16, 3, padding=1),)), 16, 128),
    (Chain((convolution(16, 16, 3, padding=64, dilation=64),)), 16, 128),
]


def _mmap() -> Callable[..., Any]:
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    return function


class Repeated:
    """A batch of equal images at consecutive addresses; `images` are the first and the last."""

    def __init__(self) -> None:
        size, map_at = 4 * FLOATS, _mmap()
        file = os.memfd_create("images")
        os.truncate(file, 2 * size)
        whole = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.address = map_at(None, IMAGES * size, 0, whole, -1, 0)
        fixed = mmap.MAP_SHARED | 0x10  # MAP_FIXED
        for i in range(IMAGES):
            place, offset = self.address + i * size, size * (i == IMAGES - 1)
            at = map_at(place, size, mmap.PROT_READ | mmap.PROT_WRITE, fixed, file, offset)
            assert at == place, os.strerror(ctypes.get_errno())
        self.file = mmap.mmap(file, 2 * size)
        os.close(file)
        self.both = torch.frombuffer(self.file, dtype=torch.float32)
        self.images = self.of(CHANNELS, SIDE)

    def of(self, channels: int, side: int) -> Tensor:
        """Both images, channels last."""
        return self.both.view(2, side, side, channels).permute(0, 3, 1, 2)

    def close(self) -> None:
        unmap = ctypes.CDLL(None).munmap
        unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        unmap(self.address, IMAGES * 4 * FLOATS)


@pytest.fixture(scope="module")
def batches() -> Any:
    x, y = Repeated(), Repeated()
    yield x, y
    x.close()
    y.close()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=list(KERNELS))
def test_offsets_beyond_32_bits(kernel: ChainKernel, batches: tuple[Repeated, Repeated]) -> None:
    x, y = batches
    chain, channels, side = next(
        case for case in CASES if kernel.serves(case[0], (IMAGES, case[1], case[2], case[2]))
    )
    shape = (IMAGES, channels, side, side)
    values = whole_numbers(2, *shape[1:], most=4, seed=1)
    x.of(channels, side).copy_(values)
    y.images.fill_(float("nan"))
    weights = weights_of(chain)
    packed = kernel.pack(chain, weights)
    addresses = [address for weight in packed for address in (weight.data_ptr(), 0)]
    strides = (FLOATS, 1, side * channels, channels)
    integers = kernel.integers(chain, shape, strides)
    native.run(kernel.function, x.address, *addresses, 0, y.address, *integers)
    wanted: Tensor = expected(chain, values, weights, [None] * len(weights), None)
    bound = 0.0 if kernel.name in EXACT else 2e-5 * float(wanted.abs().max())
    assert float((y.of(channels, side).double() - wanted).abs().max()) <= bound


def test_a_subsample_beyond_32_bits(batches: tuple[Repeated, Repeated]) -> None:
    """Of equally many numbers: a quarter of the pixels, four times the channels."""
    x, y = batches
    values = whole_numbers(2, CHANNELS, SIDE, SIDE, most=4, seed=1)
    x.images.copy_(values)
    y.images.fill_(float("nan"))
    half, before, after = SIDE // 2, CHANNELS, 2 * CHANNELS
    integers = (IMAGES, CHANNELS, SIDE, SIDE, 1, 0, 2, 2, half, half, before, after)
    native.run("subsample2d", x.address, y.address, *integers)
    found = y.images.permute(0, 2, 3, 1).reshape(2, half, half, 4 * CHANNELS).permute(0, 3, 1, 2)
    kept = values[:, :, 1::2, ::2]
    assert torch.equal(found, functional.pad(kept, (0, 0, 0, 0, before, after)))

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
from convsmith.native.chains import Chain, ChainKernel

from .chain_cases import EXACT, KERNELS, convolution, expected, weights_of, whole_numbers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not native.available(), reason="the compiled core is not built"),
    pytest.mark.skipif(sys.platform != "linux", reason="maps memory as Linux does"),
]

CHANNELS, SIDE = 16, 128
FLOATS = CHANNELS * SIDE * SIDE
IMAGES = 2**31 // FLOATS + 1

POINTWISE = convolution(CHANNELS, CHANNELS, 1)
DEPTHWISE = convolution(CHANNELS, CHANNELS, 1, groups=CHANNELS)
CHAINS = [
    Chain((POINTWISE,)),
    Chain((DEPTHWISE,)),
    Chain((DEPTHWISE, POINTWISE)),
    Chain((POINTWISE, DEPTHWISE, POINTWISE)),
    Chain((convolution(CHANNELS, CHANNELS, 1, groups=CHANNELS // 2),)),
    Chain((convolution(CHANNELS, CHANNELS, 3, padding=1),)),
]


def _mmap() -> Callable[..., Any]:
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
    return function


class Repeated:
    """A batch of equal images at consecutive addresses; `image` and `last` are its memory."""

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
        both = torch.frombuffer(self.file, dtype=torch.float32).view(2, SIDE, SIDE, CHANNELS)
        self.images = both.permute(0, 3, 1, 2)

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
    shape = (IMAGES, CHANNELS, SIDE, SIDE)
    chain = next(c for c in CHAINS if kernel.serves(c, shape))
    values = whole_numbers(2, CHANNELS, SIDE, SIDE, most=4, seed=1)
    x.images.copy_(values)
    y.images.fill_(float("nan"))
    weights = weights_of(chain)
    packed = kernel.pack(chain, weights)
    addresses = [address for weight in packed for address in (weight.data_ptr(), 0)]
    strides = (FLOATS, 1, SIDE * CHANNELS, CHANNELS)
    integers = kernel.integers(chain, shape, strides)
    native.run(kernel.function, x.address, *addresses, 0, y.address, *integers)
    wanted: Tensor = expected(chain, values, weights, [None] * len(weights), None)
    bound = 0.0 if kernel.name in EXACT else 2e-5 * float(wanted.abs().max())
    assert float((y.images.double() - wanted).abs().max()) <= bound


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

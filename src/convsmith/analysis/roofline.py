# SPDX-License-Identifier: Apache-2.0
"""What a layer's arithmetic and bytes would allow on this machine, next to what it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from convsmith.analysis.result import Layer, Time

_SIZE, _COPIED, _REPEATS = 1024, 2**24, 5


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """How fast this machine multiplies (a large float32 product) and copies, as measured now."""

    gflops: float
    gb_per_s: float
    threads: int

    def time(self, layer: Layer, ms: float) -> Time:
        """A layer's time beside the least that its work needs: max of arithmetic and bytes.

        roofline = max(2 macs / gflops, bytes / bandwidth)
        """
        flops = 2 * layer.all_macs
        moved = layer.weight_bytes + layer.input_bytes + layer.output_bytes
        least = 1e3 * max(flops / (self.gflops * 1e9), moved / (self.gb_per_s * 1e9))
        return Time(
            ms=ms,
            gflops=flops / ms / 1e6 if flops and ms else None,
            roofline_ms=least,
            of_roofline=least / ms if ms else None,
        )


def ceiling() -> Ceiling:
    """Measure this machine: a few tenths of a second.

    >>> ceiling().gflops > 0
    True
    """
    a, b = torch.randn(_SIZE, _SIZE), torch.randn(_SIZE, _SIZE)
    product = torch.empty(_SIZE, _SIZE)
    source, target = torch.zeros(_COPIED), torch.zeros(_COPIED)
    multiplying = _best(lambda: torch.mm(a, b, out=product))
    copying = _best(lambda: target.copy_(source))
    return Ceiling(
        gflops=2 * _SIZE**3 / multiplying / 1e9,
        gb_per_s=2 * 4 * _COPIED / copying / 1e9,  # read and written
        threads=torch.get_num_threads(),
    )


def _best(work: Callable[[], object]) -> float:
    def once() -> float:
        start = perf_counter()
        work()
        return perf_counter() - start

    return min(once() for _ in range(_REPEATS + 1))

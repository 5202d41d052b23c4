# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution by the compiled core against torch, in both memory layouts.

One thread; the four take turns, so that all see the same machine; medians of times and of ratios.
"of best" divides torch's faster layout by ours. Run by `make bench`.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from convsmith import native
from convsmith.convs.pointwise.core import mix_channels

# channels in and out, map, stride
CASES = [
    (64, 64, 56, 1),
    (128, 128, 56, 1),
    (256, 256, 28, 1),
    (512, 512, 14, 1),
    (32, 64, 112, 1),
    (96, 24, 56, 1),
    (144, 32, 28, 1),
    (960, 160, 7, 1),
    (2048, 512, 7, 1),
    (64, 64, 56, 2),
    (256, 512, 56, 2),
    (32, 32, 8, 1),
    (8, 16, 14, 1),
]
LANES = {"avx512": 16, "avx2": 8}


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def peak_gmacs() -> float:
    """Multiply-adds of one core in a loop of nothing else, in units of 10^9 a second."""
    lanes, rounds, sink = LANES.get(native.info()["target"], 4), 1_000_000, torch.zeros(1)
    loop = partial(native.run, "multiply_add_peak", rounds, sink.data_ptr())
    best = min(seconds(loop) for _ in range(10))
    return rounds * 12 * lanes / best / 1e9


def rounds_of(calls: list[Callable[[], Tensor]], macs: int) -> list[list[float]]:
    repeats = max(1, 10_000_000 // macs)
    return [[seconds(call, repeats) for call in calls] for _ in range(15)]


def main() -> None:
    torch.set_num_threads(1)
    peak = peak_gmacs()
    print(
        f"torch {torch.__version__}, target {native.info()['target']}, one thread, "
        f"{2 * peak:.0f} GFLOP/s at most; times in us, contiguous and channels last"
    )
    print(
        f"{'in x out, map, stride':>24} {'torch':>12} {'convsmith':>12}   of own     of best   of peak"
    )
    for channels, outputs, size, stride in CASES:
        x, bias = torch.randn(1, channels, size, size), torch.randn(outputs)
        weight = torch.randn(outputs, channels, 1, 1)
        layouts = (x, x.to(memory_format=torch.channels_last))
        ways = [
            *(partial(F.conv2d, image, weight, bias, stride) for image in layouts),
            *(partial(mix_channels, image, weight, bias, (stride, stride)) for image in layouts),
        ]
        for way in ways:
            torch.testing.assert_close(way(), ways[0](), rtol=1e-3, atol=1e-3)
        macs = outputs * channels * (-(-size // stride)) ** 2
        times = rounds_of(ways, macs)
        medians = [median(column) for column in zip(*times, strict=True)]
        own = [median(row[i] / row[2 + i] for row in times) for i in (0, 1)]
        best = [median(min(row[:2]) / row[2 + i] for row in times) for i in (0, 1)]
        share = [macs / min(row[2 + i] for row in times) / 1e9 / peak for i in (0, 1)]
        print(
            f"{f'{channels} x {outputs}, {size}x{size}, {stride}':>24} "
            + " ".join(f"{1e6 * middle:6.0f}" for middle in medians)
            + "  "
            + " ".join(f"{ratio:5.2f}" for ratio in own + best)
            + " "
            + " ".join(f"{part:4.0%}" for part in share)
        )


if __name__ == "__main__":
    main()

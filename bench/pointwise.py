# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution by the compiled core against torch, in both memory layouts.

One thread; the ways take turns, so that all see the same machine; medians of times and of ratios:
the time of torch's faster layout over ours, in the contiguous layout ("first"), in channels last
("last"), and there with panels packed beforehand ("packed"). Run it by hand: the fixed rule of
`convs/pointwise` comes from here.
"""

import time
from collections.abc import Callable
from functools import partial
from math import nan
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from convsmith import native
from convsmith.bench.machine import fma_gflops
from convsmith.convs.pointwise.core import mix_channels
from convsmith.native.packed import pack_panels

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


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def rounds_of(calls: list[Callable[[], Tensor]], macs: int) -> list[list[float]]:
    repeats = max(1, 10_000_000 // macs)
    return [[seconds(call, repeats) for call in calls] for _ in range(15)]


def ways_of(channels: int, outputs: int, size: int, stride: int) -> list[Callable[[], Tensor]]:
    """torch in both layouts, then ours: contiguous, channels last, and with packed panels."""
    first, bias = torch.randn(1, channels, size, size), torch.randn(outputs)
    weight = torch.randn(outputs, channels, 1, 1)
    last = first.to(memory_format=torch.channels_last)
    strides, panels = (stride, stride), pack_panels(weight)
    return [
        partial(F.conv2d, first, weight, bias, stride),
        partial(F.conv2d, last, weight, bias, stride),
        partial(mix_channels, first, weight, bias, strides),
        partial(mix_channels, last, weight, bias, strides),
        partial(mix_channels, last, weight, bias, strides, panels=panels),
    ]


def main() -> None:
    torch.set_num_threads(1)
    peak = (fma_gflops(1, rounds=1_000_000) or nan) / 2  # multiply-adds, in 1e9 a second
    print(
        f"torch {torch.__version__}, target {native.info()['target']}, one thread, "
        f"{2 * peak:.0f} GFLOP/s at most; times in us"
    )
    columns = ("in x out, map, stride", "torch: first", "last", "ours: first", "last", "packed")
    line = "{:>24} {:>13} {:>6} {:>13} {:>6} {:>6}"
    print(line.format(*columns), "  torch's best / ours   of peak")
    for channels, outputs, size, stride in CASES:
        ways = ways_of(channels, outputs, size, stride)
        for way in ways:
            torch.testing.assert_close(way(), ways[0](), rtol=1e-3, atol=1e-3)
        macs = outputs * channels * (-(-size // stride)) ** 2
        times = rounds_of(ways, macs)
        medians = [round(1e6 * median(column)) for column in zip(*times, strict=True)]
        best = [median(min(row[:2]) / row[i] for row in times) for i in (2, 3, 4)]
        share = [macs / min(row[i] for row in times) / 1e9 / peak for i in (2, 3, 4)]
        print(
            line.format(f"{channels} x {outputs}, {size}x{size}, {stride}", *medians),
            " ".join(f"{ratio:6.2f}" for ratio in best),
            " ".join(f"{part:5.0%}" for part in share),
        )


if __name__ == "__main__":
    main()

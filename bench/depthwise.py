# SPDX-License-Identifier: Apache-2.0
"""The compiled depthwise convolution against torch, each in both layouts.

One thread; all take turns, so that each sees the same machine. The ratio is the time of torch's
better layout over ours in that layout. Run it by hand: the fixed rule of `convs/depthwise` comes
from here.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from convsmith import DepthwiseConv1d, DepthwiseConv2d, native

# name, channels, map, kernel, stride, dilation, multiplier
CASES = [
    ("3x3", 128, 56, 3, 1, 1, 1),
    ("3x3 stride 2", 128, 56, 3, 2, 1, 1),
    ("3x3", 512, 14, 3, 1, 1, 1),
    ("5x5", 128, 56, 5, 1, 1, 1),
    ("7x7", 96, 56, 7, 1, 1, 1),
    ("3x3 dilation 2", 128, 56, 3, 1, 2, 1),
    ("3x3 dilation 12", 128, 56, 3, 1, 12, 1),
    ("3x3 multiplier 2", 128, 56, 3, 1, 1, 2),
    ("31x31", 128, 56, 31, 1, 1, 1),
    ("31x31", 128, 14, 31, 1, 1, 1),
]


def milliseconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def medians(calls: list[Callable[[], Tensor]]) -> list[float]:
    """Of as many turns as two seconds allow, seven at least."""
    for call in calls:
        call()
    turns, end = [], time.perf_counter() + 2
    while len(turns) < 7 or (time.perf_counter() < end and len(turns) < 101):
        turns.append([milliseconds(call) for call in calls])
    return [median(times) for times in zip(*turns, strict=True)]


def show(case: str, macs: float, times: list[float]) -> None:
    best = min(times[:2])
    print(
        f"{case:>28} {macs:6.1f} {times[0]:11.3f} {times[1]:8.3f} {times[2]:11.3f} {times[3]:8.3f}"
        f" {best / times[2]:11.2f} {best / times[3]:8.2f}"
    )


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, target {native.info()['target']}, one thread, milliseconds")
    print(f"{'':>35} {'torch':>20} {'convsmith':>20} {'ratio':>20}")
    print(f"{'':>28} {'Mmac':>6}" + f" {'contiguous':>11} {'ch. last':>8}" * 3)
    for name, channels, size, k, stride, dilation, multiplier in CASES:
        x = torch.randn(1, channels, size, size)
        last = x.contiguous(memory_format=torch.channels_last)
        filters = channels * multiplier
        options = {"stride": stride, "padding": dilation * (k // 2), "dilation": dilation}
        torchs = nn.Conv2d(channels, filters, k, groups=channels, **options)
        ours = DepthwiseConv2d(channels, k, depth_multiplier=multiplier, **options)
        ours.load_state_dict(torchs.state_dict())
        calls = [partial(function, image) for function in (torchs, ours) for image in (x, last)]
        y = ours(x)
        torch.testing.assert_close(y, torchs(last), rtol=1e-4, atol=1e-3)
        case = f"{name}, {filters} x {size}x{size}"
        show(case, y.numel() * k * k / 1e6, medians(calls))
    one_axis()


def one_axis() -> None:
    """Nine taps along a sequence; one layout."""
    x = torch.randn(1, 128, 3136)
    layers = nn.Conv1d(128, 128, 9, padding=4, groups=128), DepthwiseConv1d(128, 9, padding=4)
    theirs, ours = medians([partial(layer, x) for layer in layers])
    show("9 taps, 128 x 3136", 128 * 3136 * 9 / 1e6, [theirs, theirs, ours, ours])


if __name__ == "__main__":
    with torch.inference_mode():
        main()

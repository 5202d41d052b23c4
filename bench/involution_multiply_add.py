# SPDX-License-Identifier: Apache-2.0
"""The compiled multiply-add of involution against unfold, the usual way in torch.

One thread; the two take turns, so that both see the same machine. Run by `make bench`.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from convsmith import native
from convsmith.convs.involution.op import multiply_add

CASES = [(128, 56, 7, 8), (64, 112, 7, 4), (256, 28, 7, 16), (512, 14, 7, 32), (128, 56, 3, 8)]


def by_unfold(x: Tensor, kernels: Tensor, k: int) -> Tensor:
    n, groups, taps, h, w = kernels.shape
    windows = F.unfold(x, k, padding=k // 2).view(n, groups, -1, taps, h, w)
    return (windows * kernels[:, :, None]).sum(3).view(x.shape)


def by_convsmith(x: Tensor, kernels: Tensor, k: int) -> Tensor:
    return multiply_add(
        x,
        kernels,
        kernel_size=(k, k),
        stride=(1, 1),
        padding=(k // 2,) * 4,
        dilation=(1, 1),
    )


def milliseconds(call: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, target {native.info()['target']}, one thread, median of 9")
    columns = ("channels x map, kernel", "Mmac", "unfold ms", "convsmith ms", "ratio")
    print("{:>24} {:>6} {:>10} {:>13} {:>5}".format(*columns))
    for channels, size, k, groups in CASES:
        x = torch.randn(1, channels, size, size)
        kernels = torch.randn(1, groups, k * k, size, size)
        torch.testing.assert_close(by_convsmith(x, kernels, k), by_unfold(x, kernels, k))
        times = [
            (
                milliseconds(lambda: by_unfold(x, kernels, k)),  # noqa: B023  (called at once)
                milliseconds(lambda: by_convsmith(x, kernels, k)),  # noqa: B023
            )
            for _ in range(9)
        ]
        theirs, ours = map(median, zip(*times, strict=True))
        case = f"{channels} x {size}x{size}, {k}x{k}"
        macs = channels * size * size * k * k / 1e6
        print(f"{case:>24} {macs:6.1f} {theirs:10.2f} {ours:13.2f} {theirs / ours:5.1f}")


if __name__ == "__main__":
    main()

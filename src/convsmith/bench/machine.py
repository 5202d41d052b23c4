# SPDX-License-Identifier: Apache-2.0
"""What times are measured against: how fast this machine multiplies and copies."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter

import torch

from convsmith import native
from convsmith.bench.results import Machine
from convsmith.rewrite.machine import machine as described

_PACKAGES = ("convsmith", "torch", "numpy", "onnxruntime", "openvino", "onnx")
_REPEATS = 5
# float32 numbers in a vector of each target, and vectors in a round of the core's peak loop
_LANES = {"avx512": 16, "avx2": 8, "neon": 4, "baseline": 4}
_CHAINS = 12


def describe(threads: int, *, quick: bool) -> Machine:
    """Name and measure this machine; a rehearsal measures on little data, and so wrongly."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        gflops = sgemm_gflops(256 if quick else 2048)
        fma = fma_gflops(threads, rounds=1000 if quick else 3_000_000)
        copied = copy_gb_per_s(2**20 if quick else 2**28)
    finally:
        torch.set_num_threads(before)
    facts = described()
    return Machine(
        cpu=facts["cpu"],
        cores=os.cpu_count() or 1,
        system=facts["system"],
        python=facts["python"],
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        native_target=native.info()["target"] or "none",
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        fma_gflops=fma,
        sgemm_gflops=gflops,
        copy_gb_per_s=copied,
    )


def fma_gflops(threads: int, *, rounds: int) -> float | None:
    """The peak: so many threads in a loop of nothing but multiply-adds; None without the core.

    >>> (fma_gflops(1, rounds=100) or 1) > 0
    True
    """
    if not native.available():
        return None
    sinks = [torch.zeros(1) for _ in range(threads)]

    def loop(sink: torch.Tensor) -> None:
        native.run("multiply_add_peak", rounds, sink.data_ptr())

    with ThreadPoolExecutor(threads) as pool:
        seconds = _best(lambda: list(pool.map(loop, sinks)))
    return 2 * rounds * _CHAINS * _LANES[native.info()["target"]] * threads / seconds / 1e9


def sgemm_gflops(size: int) -> float:
    """What a good library reaches: 2 size³ floating-point operations of a square float32 product
    over its best time.

    >>> sgemm_gflops(64) > 0
    True
    """
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    return 2 * size**3 / _best(lambda: torch.mm(a, b, out=out)) / 1e9


def copy_gb_per_s(size: int) -> float:
    """Bytes read and written, over the best time to copy so many.

    >>> copy_gb_per_s(2**16) > 0
    True
    """
    source, target = torch.ones(size // 4), torch.zeros(size // 4)
    return 2 * size / _best(lambda: target.copy_(source)) / 1e9


def _best(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

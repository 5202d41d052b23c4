# SPDX-License-Identifier: Apache-2.0
"""Threads: one OpenMP runtime, torch's number of them, forked children, several callers at once."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from convsmith import native
from convsmith.convs.involution.op import multiply_add

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")

Inputs = tuple[torch.Tensor, torch.Tensor]

OPTIONS = {
    "kernel_size": (3, 3),
    "stride": (1, 1),
    "padding": (1, 1, 1, 1),
    "dilation": (1, 1),
}


@pytest.fixture
def _threads_restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def big_input() -> tuple[torch.Tensor, torch.Tensor]:
    """Enough work (4.6 million multiply-adds) to be split over threads."""
    x = torch.randint(-8, 9, (1, 32, 127, 127)).float()
    return x, torch.randint(-8, 9, (1, 4, 9, 127, 127)).float()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's list of mappings")
def test_torch_and_the_core_share_one_openmp_runtime(big_input: Inputs) -> None:
    multiply_add(*big_input, **OPTIONS)
    runtimes = native.info()["openmp"]
    mine = [path for path in runtimes if "scikit_learn" not in path]
    assert len(mine) == 1
    assert "torch" in mine[0]


@pytest.mark.usefixtures("_threads_restored")
def test_any_number_of_threads_gives_the_same_bits(big_input: Inputs) -> None:
    torch.set_num_threads(1)
    alone = multiply_add(*big_input, **OPTIONS)
    for threads in (2, 3, 7):
        torch.set_num_threads(threads)
        assert torch.equal(multiply_add(*big_input, **OPTIONS), alone)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts Linux's tasks")
@pytest.mark.usefixtures("_threads_restored")
def test_set_num_threads_is_obeyed(big_input: Inputs) -> None:
    """A call with n threads needs n tasks; the pool keeps them, so a larger n adds to it."""
    torch.set_num_threads(1)
    multiply_add(*big_input, **OPTIONS)
    before = len(os.listdir("/proc/self/task"))
    multiply_add(*big_input, **OPTIONS)
    assert len(os.listdir("/proc/self/task")) == before
    more = before + 3  # more than the pool can hold so far
    torch.set_num_threads(more)
    multiply_add(*big_input, **OPTIONS)
    assert len(os.listdir("/proc/self/task")) >= more
    assert native.info()["threads"] == more


SMALL_AND_LARGE = """
import os
import torch
from convsmith.native.core import run

torch.set_num_threads(3)
x = torch.empty(1 << 20)  # torch itself fills nothing, and starts no thread
def tasks(count):
    run("add", x.data_ptr(), x.data_ptr(), x.data_ptr(), count, 0)
    return len(os.listdir("/proc/self/task"))
alone = tasks(0)
print(tasks(32_000) - alone, tasks(1 << 20) - alone)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts Linux's tasks")
def test_small_work_stays_in_the_calling_thread() -> None:
    """The first call that is worth it starts the pool's two other threads."""
    command = [sys.executable, "-c", SMALL_AND_LARGE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.split() == ["0", "2"]


def _exit_well_if_equal(x: torch.Tensor, kernels: torch.Tensor, expected: bytes) -> None:
    y = multiply_add(x, kernels, **OPTIONS)
    # numpy compares: an operator of torch would use torch's threads, which a fork has lost.
    raise SystemExit(0 if y.numpy().tobytes() == expected else 1)


def test_a_forked_child_does_not_hang(big_input: Inputs) -> None:
    """The child inherits libgomp's record of a pool, but not the pool."""
    expected = multiply_add(*big_input, **OPTIONS).numpy().tobytes()
    child = multiprocessing.get_context("fork").Process(
        target=_exit_well_if_equal, args=(*big_input, expected)
    )
    child.start()
    child.join(timeout=60)
    child.kill()  # changes nothing if it has ended
    child.join()
    assert child.exitcode == 0


def test_several_python_threads_at_once(big_input: Inputs) -> None:
    expected = multiply_add(*big_input, **OPTIONS)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(multiply_add, *big_input, **OPTIONS) for _ in range(12)]
    assert all(torch.equal(call.result(), expected) for call in calls)

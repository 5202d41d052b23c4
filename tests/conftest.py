# SPDX-License-Identifier: Apache-2.0
"""What every test shares: a fixed seed, the shared data, how hard hypothesis tries, every target in
turn, and memory that shows what was not written.
"""

import ctypes
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from convsmith.native import core

settings.register_profile("quick", max_examples=200, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("CONVSMITH_HYPOTHESIS", "quick"))

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core of its own; tests of threads set their number themselves.
    torch.set_num_threads(1)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of weights, images and expected numbers beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the shared data is not here ({SHARED_DATA.name}/ beside the checkout)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def between_guards() -> Iterator[Tensor]:
    """Floats with a page before and a page behind them that nobody may touch."""
    if sys.platform != "linux":
        pytest.skip("protects pages as Linux does")
    pages = 64
    memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    guards = [ctypes.c_void_p(start), ctypes.c_void_p(start + (pages + 1) * mmap.PAGESIZE)]
    protect = ctypes.CDLL(None).mprotect
    assert [protect(guard, mmap.PAGESIZE, 0) for guard in guards] == [0, 0]
    yield torch.frombuffer(
        memory, dtype=torch.float32, offset=mmap.PAGESIZE, count=pages * mmap.PAGESIZE // 4
    )
    for guard in guards:
        protect(guard, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="this machine has no CUDA device"))


@pytest.fixture(params=core.info()["targets_supported"])
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    before = core.info()["target"]
    assert core._core is not None
    core._core.use_target(request.param)
    yield request.param
    core._core.use_target(before)


@pytest.fixture
def threads_restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every new tensor is full of NaN: what a kernel leaves unwritten shows."""
    for name in ("empty", "empty_strided"):
        monkeypatch.setattr(torch, name, _filled_with_nan(getattr(torch, name)))


def _filled_with_nan(empty: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *a, **k: empty(*a, **k).fill_(float("nan"))

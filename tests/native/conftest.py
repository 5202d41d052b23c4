# SPDX-License-Identifier: Apache-2.0
"""Every target in turn, and memory that shows what was not written."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from convsmith.native import core


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

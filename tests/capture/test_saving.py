# SPDX-License-Identifier: Apache-2.0
"""Saving and loading: the same network comes back, bit for bit, or a clear error does."""

import pickle
from pathlib import Path

import pytest
import torch

from convsmith.capture import Captured, capture, load, save

from .networks import CASES, Case, assert_equal


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def captured(case: Case) -> Captured:
    return capture(case.model(), case.example, kwargs=case.kwargs)


@torch.no_grad()
def test_loaded_network_is_bit_equal(case: Case, captured: Captured, tmp_path: Path) -> None:
    save(captured, tmp_path / "model", about={"labels": ["a", "b"]})
    loaded = load(tmp_path / "model")
    kwargs = case.kwargs or {}
    for inputs in (case.example, *case.others):
        assert_equal(loaded(*inputs, **kwargs), captured.module(*inputs, **kwargs))
    assert loaded.about == {"labels": ["a", "b"]}
    assert loaded.contract == captured.contract
    assert list(loaded.state_dict()) == list(captured.module.state_dict())
    assert [n.name for n in loaded.graph.nodes] == [n.name for n in captured.graph.nodes]
    assert [n.args for n in loaded.graph.nodes if n.op == "x"] == []


@torch.no_grad()
def test_pickled_network_is_bit_equal(case: Case, captured: Captured) -> None:
    twin = pickle.loads(pickle.dumps(captured.module))
    kwargs = case.kwargs or {}
    assert_equal(twin(*case.example, **kwargs), captured.module(*case.example, **kwargs))

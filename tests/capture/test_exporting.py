# SPDX-License-Identifier: Apache-2.0
"""Capturing: the graph computes what the model computes, at every size it accepts, and the model is
left alone.
"""

import pytest
import torch

from convsmith.capture import Captured, capture

from .networks import CASES, Case, assert_equal


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def captured(case: Case) -> Captured:
    return capture(case.model(), case.example, kwargs=case.kwargs)


@torch.no_grad()
def test_captured_network_is_bit_equal_to_the_model(case: Case, captured: Captured) -> None:
    model, kwargs = case.model(), case.kwargs or {}
    for inputs in (case.example, *case.others):
        assert_equal(captured.module(*inputs, **kwargs), model(*inputs, **kwargs))


def test_graph_changes_nothing_in_place(captured: Captured) -> None:
    for node in captured.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            assert not node.target._schema.is_mutable
            assert len(node.args) + len(node.kwargs) == len(node.target._schema.arguments)

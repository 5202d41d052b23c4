# SPDX-License-Identifier: Apache-2.0
"""A case is the same at every call, and its norms are not the identity."""

import torch
from torch import nn

from convsmith.bench import Case


def a_case(**more: object) -> Case:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))

    return Case(name="a", group="g", build=build, input_shape=(1, 2, 56, 16), **more)  # type: ignore[arg-type]


def test_module_and_input_repeat_and_leave_the_seed_alone() -> None:
    case = a_case()
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    first, second = case.module(), case.module()
    assert torch.equal(torch.randn(3), expected)
    assert torch.equal(first(case.input()), second(case.input()))
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())


def test_norms_have_something_to_do() -> None:
    norm = a_case().module()[1]  # type: ignore[index]
    assert norm.running_mean.abs().min() > 0
    assert (norm.running_var != 1).all()


def test_small_shrinks_the_map_or_takes_the_given_case() -> None:
    dense = a_case(replaces="b")
    assert dense.small().input_shape == (1, 2, 7, 4)
    assert dense.small().name == "small a"
    assert dense.small().replaces is None
    assert a_case(smaller=dense).small().input_shape == dense.input_shape

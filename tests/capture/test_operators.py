# SPDX-License-Identifier: Apache-2.0
"""The table of operators: every name is a real operator that changes nothing in place."""

import operator

import pytest
import torch

from convsmith.capture.operators import ALLOWED, argument_names, name_of, operator_of

ATEN = sorted(name for name in ALLOWED if name.startswith("aten."))


@pytest.mark.parametrize("name", ATEN)
def test_operators_exist_and_are_functional(name: str) -> None:
    found = operator_of(name)
    assert isinstance(found, torch._ops.OpOverload)
    assert not found._schema.is_mutable
    assert name_of(found) == name


@pytest.mark.parametrize(
    "name",
    [
        *("aten.from_file.default", "aten.as_strided.default", "aten.relu_.default", "aten.conv2d"),
        *("operator.attrgetter", "os.system", "builtins.eval", "torch.load", "", "aten", "."),
    ],
)
def test_other_names_are_nothing(name: str) -> None:
    assert operator_of(name) is None


def test_python_operators() -> None:
    assert operator_of("operator.floordiv") is operator.floordiv
    assert name_of(operator.getitem) == "operator.getitem"
    assert [name for name, _, _ in argument_names(operator.mul)] == ["a", "b"]
    assert [name for name, _, _ in argument_names(operator.neg)] == ["a"]
    assert name_of(len) == "builtins.len"

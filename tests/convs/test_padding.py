# SPDX-License-Identifier: Apache-2.0
"""Padding by pairs: amounts for an input, their symmetric form, and what is refused."""

import re

import pytest
import torch
import torch.nn.functional as F

from convsmith.convs.padding import MODES, as_torch, checked_mode, pad, resolve, symmetric
from convsmith.errors import ArgumentError, ShapeError


def test_resolve() -> None:
    shape = (1, 3, 7, 8)
    assert resolve("same", shape, (3, 2), (2, 3), (1, 2)) == ((1, 1), (0, 1))
    assert resolve("valid", shape, (3, 2), (2, 3), (1, 2)) == ((0, 0), (0, 0))
    assert resolve(((0, 1), 2), shape, (3, 2), (2, 3), (1, 2)) == ((0, 1), (2, 2))


@pytest.mark.parametrize(
    ("shape", "kernel"), [((1, 3, 7), (3,)), ((7,), (3, 3)), ((1, 1, 3, 7, 8), (3, 3))]
)
def test_same_refuses_another_number_of_axes(
    shape: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    message = f"padding 'same': input {shape} and kernel {kernel} do not have 2 spatial axes"
    with pytest.raises(ShapeError, match=re.escape(message)):
        resolve("same", shape, kernel, (1, 1), (1, 1))


def test_a_span_beyond_an_int64_is_refused() -> None:
    """torch 2.13 overflows here and gives a result."""
    message = f"span of kernel 3 with dilation {2**62}: {2**63 + 1} does not fit in a signed 64-bit"
    with pytest.raises(ShapeError, match=re.escape(message)):
        resolve(0, (1, 1, 8), (3,), (1,), (2**62,))


@pytest.mark.parametrize("mode", MODES)
def test_pad_names_the_axes_in_order(mode: str) -> None:
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    expected = F.pad(x, (2, 0, 0, 1), mode="constant" if mode == "zeros" else mode)
    assert torch.equal(pad(x, ((0, 1), (2, 0)), checked_mode(mode)), expected)


def test_an_unknown_mode_is_refused() -> None:
    message = "padding_mode: 'nothing' must be one of zeros, reflect, replicate, circular"
    with pytest.raises(ArgumentError, match=message):
        checked_mode("nothing")


def test_the_form_of_torch_where_there_is_one() -> None:
    assert symmetric(((1, 1), (0, 0))) == as_torch(((1, 1), (0, 0))) == (1, 0)
    assert symmetric(((1, 1), (0, 1))) is None
    assert as_torch(((1, 1), (0, 1))) == ((1, 1), (0, 1))
    assert as_torch("same") == "same"

# SPDX-License-Identifier: Apache-2.0
"""Values as JSON: whatever is written reads back as the same value of the same type."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convsmith.capture.encoding import decode, encode
from convsmith.errors import FormatError, UnsupportedError

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(
        [torch.float16, torch.int64, torch.channels_last, torch.strided, torch.device("cuda:1")]
    ),
    st.builds(slice, st.none() | st.integers(0, 9), st.integers(0, 9), st.none()),
)
VALUES = st.recursive(ATOMS, lambda v: st.lists(v) | st.lists(v).map(tuple), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_round_trip(value: Any) -> None:
    decoded = decode(json.loads(json.dumps(encode(value), allow_nan=False)), {})
    assert decoded == value
    assert repr(decoded) == repr(value)


def test_nan_comes_back() -> None:
    assert math.isnan(decode(encode(math.nan), {}))


@pytest.mark.parametrize("value", [{"device": "cpu; ls"}, {"dtype": "load"}, {"float": "1"}, {}])
def test_marks_take_only_known_names(value: Any) -> None:
    with pytest.raises(FormatError, match=r"is not a value of a graph"):
        decode(value, {})


def test_values_without_a_form_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"an argument is tensor\(\[1.\]\) \(Tensor\)"):
        encode(torch.ones(1))

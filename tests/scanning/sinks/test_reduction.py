# SPDX-License-Identifier: Apache-2.0
"""Scores, probabilities, labels and the k best, against their definitions."""

from typing import Any

import numpy as np
import pytest
import torch

from convsmith.errors import ArgumentError
from convsmith.scanning.plan import Plan
from convsmith.scanning.sinks.reduction import parts_of, reduced
from convsmith.scanning.tiling import AxisPlan


def planned(classes: int, **given: Any) -> Plan:
    axis = AxisPlan.fitted(size=6, outputs=6, stride=1, a=0, b=0, period=1, core=4)
    return Plan(axes=(axis, axis), in_channels=1, out_channels=classes, **given)


def integers(classes: int) -> torch.Tensor:
    """Small integers, so that many are equal."""
    return torch.randint(-2, 3, (2, classes, 6, 6)).float()


def test_scores_are_left_alone_and_float32() -> None:
    scores = integers(3)
    (kept,) = reduced(scores.half(), planned(3))
    assert kept.dtype == np.float32
    assert np.array_equal(kept, scores.numpy())


def test_labels_are_the_first_of_the_best() -> None:
    scores = integers(5)
    (labels,) = reduced(scores, planned(5, output="labels"))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels[:, 0], np.argmax(scores.numpy(), axis=1))


def test_the_best_come_first_and_of_equals_the_lower() -> None:
    scores = integers(5)
    indices, values = reduced(scores, planned(5, output="topk", k=3))
    order = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :3]
    assert np.array_equal(indices, order)
    assert np.array_equal(values, np.take_along_axis(scores.numpy(), order, 1))


def test_one_channel_is_a_yes_or_no() -> None:
    scores = integers(1)
    (labels,) = reduced(scores, planned(1, output="labels"))
    (probabilities,) = reduced(scores, planned(1, output="probabilities"))
    assert np.array_equal(labels, scores.numpy() > 0)
    assert np.array_equal(probabilities > 0.5, labels == 1)


def test_probabilities_sum_to_one() -> None:
    (kept,) = reduced(100 * integers(7), planned(7, output="probabilities"))
    # A float32 sum of 7 rounded terms below 1 is off by at most 7 roundings of the sum, each half
    # an ulp of 1, and each term by a few ulps of exp and of the division: 32 ulps hold all of it.
    assert np.abs(kept.astype(np.float64).sum(axis=1) - 1).max() < 32 * 2.0**-24


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)],
)
def test_labels_take_the_smallest_type_with_a_value_to_spare(classes: int, dtype: type) -> None:
    (part,) = parts_of(planned(classes, output="labels"))
    assert part.dtype == dtype
    assert part.missing == np.iinfo(dtype).max >= classes


def test_more_than_all_classes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="the 4 best of 3 classes are asked for; k is at most"):
        parts_of(planned(3, output="topk", k=4))

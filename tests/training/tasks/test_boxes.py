# SPDX-License-Identifier: Apache-2.0
"""Average precision, by hand."""

import pytest
import torch

from convsmith.training.tasks.boxes import average_precision

SQUARE = [0.0, 0, 10, 10]


def test_average_precision_by_hand() -> None:
    right = torch.tensor([SQUARE, [20.0, 20, 30, 30]])
    found = torch.tensor([SQUARE, [50.0, 50, 60, 60], [20.0, 20, 30, 29], [0.0, 1, 10, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    # Hits: yes, no, yes, no (the first is taken): precision 1 to recall 1/2, 2/3 to recall 1.
    expected = 0.5 * 1 + 0.5 * 2 / 3
    assert average_precision([(found, scores)], [right]) == pytest.approx(expected, rel=1e-12)
    nothing = (torch.zeros(0, 4), torch.zeros(0))
    assert average_precision([nothing], [right]) == 0
    assert average_precision([(found, scores)], [right[:0]]) == 0
    half = average_precision([(found[:1], scores[:1]), nothing], [right[:1], right[1:]])
    assert half == 0.5

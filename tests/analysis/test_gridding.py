# SPDX-License-Identifier: Apache-2.0
"""Holes in the cones of dilated networks: the facts, who causes them and what closes them."""

import pytest
import torch
from torch import nn

import convsmith as cs


def dilated(*dilations: int, stem: nn.Module | None = None) -> nn.Module:
    layers = [nn.Conv1d(2, 2, 3, dilation=d, padding=d) for d in dilations]
    return nn.Sequential(*([stem] if stem else []), *layers)


@pytest.mark.parametrize(
    ("dilations", "touched", "size", "distance"),
    [((2, 2, 2), 7, 13, 2), ((2, 4, 8), 15, 29, 4), ((2, 3), 9, 11, 3), ((1, 3, 1), 11, 11, None)],
)
def test_the_verdict_is_the_touched_set_and_the_rule_stands_beside_it(
    dilations: tuple[int, ...], touched: int, size: int, distance: int | None
) -> None:
    (axis,) = cs.analyze(dilated(*dilations), (1, 2, 40)).layers[-1].cone.axes
    assert (axis.touched, axis.size) == (touched, size)
    holes = cs.analyze(dilated(*dilations), (1, 2, 40)).layers[-1].gridding
    if touched == size:
        assert holes == ()
        return
    (found,) = holes
    assert (len(found.touched), found.size, found.caused_by) == (touched, size, "0")
    assert found.dilations == dilations
    assert found.max_distance == distance
    assert not found.passes_rule
    assert sum(found.paths) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("dilations", [(2, 2, 2), (2, 4, 8), (4, 4), (1, 2, 9, 9)])
def test_what_is_proposed_closes_the_holes(dilations: tuple[int, ...]) -> None:
    (found,) = cs.analyze(dilated(*dilations), (1, 2, 80)).layers[-1].gridding
    assert found.closing is not None
    whole = len(dilations) - len(found.closing)
    replaced = (*dilations[:whole], *found.closing)
    (axis,) = cs.analyze(dilated(*replaced), (1, 2, 80)).layers[-1].cone.axes
    assert axis.touched == axis.size <= found.size


def test_the_layer_that_tears_the_holes_is_named() -> None:
    model = nn.Sequential(nn.Conv1d(2, 2, 3, padding=1), nn.ReLU(), *dilated(1, 9, 9))
    layers = cs.analyze(model, (1, 2, 80)).layers
    assert layers[2].gridding == ()
    assert layers[-1].gridding[0].caused_by == layers[-2].name == "3"
    assert layers[-1].to_json()["gridding"][0]["dilations"] == (9, 9)


def test_a_stem_that_covers_more_allows_more() -> None:
    stem = nn.Sequential(nn.Conv1d(2, 2, 7, stride=2, padding=3), nn.MaxPool1d(3, 2))
    assert cs.analyze(dilated(2, 4, stem=stem), (1, 2, 128)).layers[-1].gridding == ()
    (found,) = cs.analyze(dilated(8, 8, stem=stem), (1, 2, 128)).layers[-1].gridding
    assert found.closing is not None
    closed = cs.analyze(dilated(*found.closing, stem=stem), (1, 2, 128)).layers[-1].cone.axes[0]
    assert closed.touched == closed.size


def test_only_the_axis_with_holes_is_told() -> None:
    model = nn.Conv2d(1, 1, (3, 2), dilation=(3, 1))
    (found,) = cs.analyze(model, (1, 1, 16, 16)).layers[0].gridding
    assert (found.axis, found.touched, found.closing) == (2, (0, 3, 6), (1,))
    assert torch.tensor(found.paths).tolist() == pytest.approx([1 / 3] * 3, abs=1e-5)

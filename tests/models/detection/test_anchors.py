# SPDX-License-Identifier: Apache-2.0
"""Where anchors lie, and boxes from offsets and back."""

import pytest
import torch

from convsmith.models.detection.anchors import (
    PER_PLACE,
    STRIDES,
    anchors,
    boxes_from_offsets,
    offsets_to_boxes,
)


def test_every_place_of_every_level_has_nine() -> None:
    places = [(-(-100 // s), -(-260 // s)) for s in STRIDES]
    assert PER_PLACE == 9
    assert anchors(100, 260).shape == (9 * sum(h * w for h, w in places), 4)


def test_sizes_and_ratios_are_the_published_ones() -> None:
    # Lin et al. 2017, section 4: areas of 32^2 to 512^2, three sizes an octave, 1:2, 1:1 and 2:1.
    boxes = anchors(8, 8)
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    assert torch.allclose((height / width)[:9], torch.tensor([0.5, 1, 2]).repeat_interleave(3))
    sides = (width * height).sqrt().reshape(len(STRIDES), 3, 3)
    octaves = 2 ** (torch.arange(3) / 3)
    for level, side in zip(sides, (32, 64, 128, 256, 512), strict=True):
        assert torch.allclose(level, (side * octaves).expand(3, 3))


def test_rows_and_columns_are_a_stride_apart() -> None:
    boxes = anchors(16, 24, strides=[8])
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2)[::9]
    assert centres.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]


def test_offsets_move_and_stretch() -> None:
    given = torch.tensor([[10.0, 20, 30, 60]])
    # Half a width to the right, a quarter of the height up; twice as wide.
    offsets = torch.tensor([[0.5, -0.25, 2.0, 1.0]])
    offsets[:, 2:] = offsets[:, 2:].log()
    assert boxes_from_offsets(offsets, given).tolist() == [
        pytest.approx([10.0, 10, 50, 50], abs=1e-4)
    ]


def test_offsets_are_found_again() -> None:
    given = anchors(64, 64)
    offsets = torch.randn(3, len(given), 4)
    found = offsets_to_boxes(boxes_from_offsets(offsets, given), given)
    # A far coordinate, some thousand pixels, keeps 1e-4 of a pixel, of sizes from a pixel on.
    torch.testing.assert_close(found, offsets, atol=1e-3, rtol=1e-3)


def test_a_diverged_stretch_ends_somewhere() -> None:
    box = boxes_from_offsets(torch.full((1, 4), 1e4), torch.tensor([[0.0, 0, 16, 16]]))
    assert box.isfinite().all()
    assert (box[0, 2] - box[0, 0]).item() == pytest.approx(1000)

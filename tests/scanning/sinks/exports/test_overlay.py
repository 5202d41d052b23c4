# SPDX-License-Identifier: Apache-2.0
"""A picture shows each output over the pixels it looked at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.scanning.plan import Plan
from convsmith.scanning.sinks import export
from convsmith.scanning.sinks.exports.colours import class_colour, heat_colours
from convsmith.scanning.sinks.exports.overlay import _COVER
from convsmith.scanning.sinks.exports.preview import shrunken
from convsmith.scanning.sources import ArraySource
from convsmith.scanning.tiling import AxisPlan

from .results import finished, planned, random_scores

BLACK = np.zeros((3, 40, 44), np.uint8)


def shown(path: Path, height: int, width: int) -> np.ndarray:
    """The picture without its legend."""
    with Image.open(path) as picture:
        return np.asarray(picture)[:height, :width].astype(np.float64)


def covering(colour: Any) -> np.ndarray:
    return np.round(_COVER * np.asarray(colour))


def test_each_pixel_shows_the_output_whose_cell_holds_it(tmp_path: Path) -> None:
    """Output j of this network is centred on pixel 2 j + 1 and is two wide: it covers 2 j + 1/2 to
    2 j + 5/2, with the centres of pixel 2 j at its very edge and of 2 j + 1 inside.
    """
    plan = planned(40, 44, output="labels")
    scores = random_scores(plan)
    store = finished(tmp_path / "out", plan, scores)
    for budget in (2000, 2**28):
        export(store, tmp_path / "labels.png", image=BLACK, budget=budget)
        picture = shown(tmp_path / "labels.png", 40, 44)
        for (row, column), label in np.ndenumerate(scores.argmax(axis=0)):
            expected = covering(class_colour(int(label)))
            cell = picture[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert (cell == expected).all(), (row, column)
    # 19 outputs end at 38 1/2, where the centre of pixel 38 is: neither it nor 39 has one.
    assert (picture[38:] == 0).all()


def test_a_shrunken_picture_shows_the_output_at_each_centre(tmp_path: Path) -> None:
    axes = tuple(
        AxisPlan.fitted(size=n, outputs=n, stride=1, a=0, b=0, period=1, core=16) for n in (90, 120)
    )
    plan = Plan(axes=axes, in_channels=3, out_channels=3, output="labels")
    scores = random_scores(plan)
    store = finished(tmp_path / "out", plan, scores)
    image = np.zeros((3, 90, 120), np.uint8)
    export(store, tmp_path / "labels.png", image=image, size=40)
    centres = scores.argmax(axis=0)[1::3, 1::3]
    expected = covering([[class_colour(int(label)) for label in row] for row in centres])
    assert np.array_equal(shown(tmp_path / "labels.png", 30, 40), expected)


def test_heat_goes_from_the_coldest_to_the_hottest(tmp_path: Path) -> None:
    plan = planned(40, 44, out_channels=2)
    scores = random_scores(plan)
    store = finished(tmp_path / "out", plan, scores, classes=["land", "sea"])
    for of in (1, "sea"):
        export(store, tmp_path / "heat.png", image=BLACK, of=of)
        picture = shown(tmp_path / "heat.png", 40, 44)[1:39:2, 1:43:2]
        scaled = (scores[1] - scores[1].min()) / np.ptp(scores[1])
        assert np.array_equal(picture, covering(heat_colours(scaled)))
    with pytest.raises(ArgumentError, match="of='sky', and the result has 2 classes, such as"):
        export(store, tmp_path / "heat.png", image=BLACK, of="sky")
    with pytest.raises(ArgumentError, match="give a number from 0 to 1 or a name"):
        export(store, tmp_path / "heat.png", image=BLACK, of=2)


def test_the_heat_shown_is_of_the_class_with_the_highest_score(tmp_path: Path) -> None:
    plan = planned(40, 44)
    scores = random_scores(plan)
    scores[1, :, :12] = 100  # the best most often
    scores[2, -1, -1] = 101
    scores[1, 0, 0] = np.nan
    store = finished(tmp_path / "out", plan, scores)
    for of in (None, 2):
        export(store, tmp_path / f"{of}.png", image=BLACK, of=of)
    assert (tmp_path / "None.png").read_bytes() == (tmp_path / "2.png").read_bytes()
    export(store, tmp_path / "heat.jpg", image=BLACK)
    with Image.open(tmp_path / "heat.jpg") as photo, Image.open(tmp_path / "2.png") as picture:
        assert (photo.format, photo.size) == ("JPEG", picture.size)


def test_the_image_named_in_the_plan_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(BLACK.transpose(1, 2, 0)).save(path)
    plan = planned(40, 44, output="topk", k=1, source={"path": str(path)})
    store = finished(tmp_path / "out", plan, random_scores(plan))
    export(store, tmp_path / "labels.png")
    assert shown(tmp_path / "labels.png", 40, 44).any()
    with pytest.raises(ArgumentError, match=r"the image is \(40, 40\), and the one that was"):
        export(store, tmp_path / "labels.png", image=BLACK[..., :40])
    plan = planned(40, 44)
    store = finished(tmp_path / "nameless", plan, random_scores(plan))
    with pytest.raises(ArgumentError, match="the plan names no file of the image, which was an ar"):
        export(store, tmp_path / "labels.png")
    plan = planned(40)
    store = finished(tmp_path / "line", plan, random_scores(plan))
    with pytest.raises(UnsupportedError, match=r"a picture has two axes of space, and .* has 1"):
        export(store, tmp_path / "labels.png")


def test_many_classes_leave_the_legend_short(tmp_path: Path) -> None:
    plan = planned(40, 44, output="labels", out_channels=60)
    store = finished(tmp_path / "out", plan, random_scores(plan))
    export(store, tmp_path / "labels.png", image=BLACK)
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.height < 400
        assert picture.width > 44 + 150


@pytest.mark.parametrize("budget", [1, 5000, 2**28])
def test_a_shrunken_image_is_the_mean_of_blocks(budget: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 31, 50)).astype(np.uint8)
    picture = shrunken(ArraySource(image), 7, budget)
    assert picture.shape == (5, 8, 3)
    for row in range(5):
        for column in range(8):
            block = image[:3, 7 * row : 7 * row + 7, 7 * column : 7 * column + 7]
            # Down a column sums of bytes are exact; their division, six additions and another
            # division round here, and one division there.
            mean = block.mean(axis=(1, 2))
            assert np.allclose(picture[row, column], mean, rtol=9 * 2.0**-53, atol=0)


def test_samples_other_than_bytes_are_stretched_and_grey_is_grey() -> None:
    image = np.array([[[-5.0, np.nan], [0.0, 15.0]]], np.float32)
    picture = shrunken(ArraySource(image), 1, 2**20)
    assert picture[..., 0].tolist() == [[0.0, 63.75], [63.75, 255.0]]
    assert (picture == picture[..., :1]).all()

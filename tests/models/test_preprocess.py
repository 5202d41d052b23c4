# SPDX-License-Identifier: Apache-2.0
"""From an image to a tensor, step by step, and back from JSON."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convsmith.errors import ArgumentError, FormatError
from convsmith.models import Preprocess

PLAIN = Preprocess(size=4, mean=(0.0,) * 3, std=(1.0,) * 3, scale=1.0)
GREY = Preprocess(size=4, colour="L", mean=(0.0,), std=(1.0,), scale=1.0)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = pixels(4, 4, 3)
    assert torch.equal(PLAIN(image), torch.from_numpy(image).permute(2, 0, 1).float())
    assert torch.equal(PLAIN(Image.fromarray(image)), PLAIN(image))


def test_scale_mean_and_std_are_applied_in_this_order() -> None:
    image = np.full((4, 4, 3), (0, 102, 255), np.uint8)
    steps = replace(PLAIN, mean=(0.5, 0.2, 0.0), std=(0.5, 0.1, 2.0), scale=255.0)
    expected = torch.tensor(
        [-1.0, (np.float32(102 / 255) - np.float32(0.2)) / np.float32(0.1), 0.5]
    )
    assert torch.equal(steps(image)[:, 1, 2], expected)


def test_the_crop_is_central_and_a_fraction_of_the_shorter_side() -> None:
    image = np.zeros((8, 12), np.uint8)
    image[2:6, 4:8] = 200  # half of the shorter side, 8, in the centre
    nearest = replace(GREY, interpolation="nearest")
    assert torch.equal(replace(nearest, crop=0.5)(image), torch.full((1, 4, 4), 200.0))
    assert replace(nearest, crop=1.0)(image).count_nonzero() == 4


def test_without_a_crop_the_whole_image_is_squashed() -> None:
    image = np.zeros((4, 8), np.uint8)
    image[:, :4] = 100
    squashed = replace(GREY, interpolation="nearest")(image)[0]
    assert torch.equal(squashed, torch.tensor([100.0, 100.0, 0.0, 0.0]).expand(4, 4))


def test_the_resize_is_that_of_pillow_with_a_box() -> None:
    image = Image.fromarray(pixels(31, 47, 3))
    side = 0.875 * 31
    box = ((47 - side) / 2, (31 - side) / 2, (47 + side) / 2, (31 + side) / 2)
    expected = np.asarray(image.resize((4, 4), Image.Resampling.BILINEAR, box=box))
    steps = replace(PLAIN, crop=0.875)
    assert torch.equal(steps(image), torch.from_numpy(expected.copy()).permute(2, 0, 1).float())


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_any_kind_of_image_becomes_the_colour_asked_for(mode: str) -> None:
    image = Image.fromarray(pixels(5, 6, 3)).convert(mode)
    assert PLAIN(image).shape == (3, 4, 4)
    assert GREY(image).shape == (1, 4, 4)


def test_grey_arrays_with_and_without_a_channel_are_the_same() -> None:
    image = pixels(6, 5)
    assert torch.equal(GREY(image), GREY(image[:, :, None]))
    assert torch.equal(PLAIN(image)[0], GREY(image)[0])
    assert torch.equal(GREY(image[::-1, ::-1]), GREY(image[::-1, ::-1].copy()))


@pytest.mark.parametrize(
    ("image", "values"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\) and type uint8"),
        (np.zeros((4, 4)), r"\(4, 4\) and type float64"),
        (np.zeros(4, np.uint8), r"\(4,\) and type uint8"),
    ],
)
def test_an_array_that_is_no_image_is_an_error(image: np.ndarray, values: str) -> None:
    with pytest.raises(ArgumentError, match=values):
        PLAIN(image)


def test_another_number_of_channels() -> None:
    colour = replace(PLAIN, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 6.0))
    grey = colour.for_channels(1)
    assert (grey.colour, grey.mean, grey.std) == ("L", (2.0,), (4.0,))
    assert grey.for_channels(3).mean == (2.0, 2.0, 2.0)
    assert colour.for_channels(3) is colour
    assert colour.for_channels(5) is colour


def test_json_gives_back_the_same_steps() -> None:
    for steps in (replace(PLAIN, crop=0.875, label_offset=1), GREY):
        assert Preprocess.from_json(json.loads(json.dumps(steps.to_json()))) == steps


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({"colour": "CMYK"}, "colour is 'CMYK'"),
        ({"interpolation": "best"}, "interpolation 'best'"),
        ({"mean": [1.0]}, r"mean \(1\.0,\) .* 3 channels of RGB"),
        ({"std": [1.0, 0.0, 1.0]}, r"std \(1\.0, 0\.0, 1\.0\)"),
        ({"scale": float("nan")}, "scale nan"),
        ({"size": 10**9}, "size 1000000000 is 1 to 16384"),
        ({"size": "x"}, "invalid literal .* 'x'"),
        ({"crop": 1.5}, r"crop 1\.5 in \(0, 1\]"),
        ({"mean": 3}, "'int' object is not iterable"),
        ({"more": 1}, "its fields are .*'more'"),
    ],
)
def test_damaged_json_is_a_format_error(change: dict[str, Any], values: str) -> None:
    with pytest.raises(FormatError, match=values):
        Preprocess.from_json({**PLAIN.to_json(), **change})


def test_json_that_is_no_object_is_a_format_error() -> None:
    with pytest.raises(FormatError, match="damaged"):
        Preprocess.from_json(None)  # type: ignore[arg-type]

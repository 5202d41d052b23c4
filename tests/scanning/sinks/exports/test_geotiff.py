# SPDX-License-Identifier: Apache-2.0
"""A map lies where its image lies: a delta in the image is found again at its coordinates."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from convsmith.errors import UnsupportedError
from convsmith.scanning.sinks import export
from convsmith.scanning.sinks.exports.colours import class_colour
from convsmith.scanning.sources import Place, open_source

from .results import finished, planned, random_scores

rasterio = pytest.importorskip("rasterio")
CRS = "EPSG:32633"
HERE = Place(crs=CRS, transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_100_000.0))
TRANSFORMS = {
    "north up": HERE.transform,
    "turned": (8.0, 6.0, 1000.0, 6.0, -8.0, 2000.0),
    "oblong": (2.0, 0.0, -50.0, 0.0, 5.0, 70.0),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("pixel", [(1, 1), (19, 33), (27, 11)])
def test_a_delta_is_found_at_its_coordinates(
    tmp_path: Path, transform: str, pixel: tuple[int, int]
) -> None:
    """A kernel with its one weight at the middle tap sees the pixel 2 j + 1 alone."""
    place = Place(crs=CRS, transform=TRANSFORMS[transform])  # type: ignore[arg-type]
    image, kernel = torch.zeros(1, 1, 40, 44), torch.zeros(1, 1, 5, 5)
    image[0, 0, *pixel] = kernel[0, 0, 2, 2] = 1
    plan = planned(40, 44, out_channels=1)
    scores = F.conv2d(image, kernel, stride=2, padding=1)[0].numpy()
    assert scores.sum() == 1
    store = finished(tmp_path / "out", plan, scores, place=place)
    with rasterio.open(export(store, tmp_path / "map.tif")) as file:
        values = file.read(1)
        ((row, column),) = np.argwhere(values == 1)
        assert file.crs == rasterio.crs.CRS.from_string(CRS)
        found = file.xy(row, column)
    a, b, c, d, e, f = place.transform
    y, x = pixel[0] + 0.5, pixel[1] + 0.5
    assert found == (a * x + b * y + c, d * x + e * y + f)  # exact: all are short binary fractions


@pytest.mark.parametrize("budget", [1, 2**28])
@pytest.mark.parametrize("output", ["scores", "labels", "topk"])
def test_every_value_is_there(tmp_path: Path, output: Any, budget: int) -> None:
    plan = planned(*((31, 35) if budget > 1 else (1050, 1201)), output=output, core=300)
    scores = random_scores(plan)
    store = finished(tmp_path / "out", plan, scores, axes="YXC", place=HERE)
    export(store, tmp_path / "map.tif", budget=budget)
    whole = store.read(tuple(slice(0, n) for n in plan.outputs), part=store.parts[0].name)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert np.array_equal(file.read(), whole)
        assert file.dtypes[0] == store.parts[0].dtype.name
        assert file.tags()["promise"] == "fcn"
        if output == "labels":
            assert file.colormap(1)[2][:3] == class_colour(2)
            assert file.nodata == 255


def test_bands_have_the_names_of_the_classes(tmp_path: Path) -> None:
    plan, names = planned(31, 35), ("land", "sea", "sky")
    store = finished(tmp_path / "out", plan, random_scores(plan), classes=names)
    export(store, tmp_path / "map.tiff")
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),  # the image had no place
        rasterio.open(tmp_path / "map.tiff") as file,
    ):
        assert file.descriptions == names
    source = open_source(tmp_path / "map.tiff")
    assert source.place is None
    assert source.shape == (3, *plan.outputs)


def test_a_map_has_two_axes_and_needs_rasterio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(31)
    store = finished(tmp_path / "out", plan, random_scores(plan))
    with pytest.raises(UnsupportedError, match=r"a map has two axes of space, and .* has 1; write"):
        export(store, tmp_path / "map.tif")
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UnsupportedError, match=r".tif is written through rasterio: pip install"):
        export(store, tmp_path / "map.tif")

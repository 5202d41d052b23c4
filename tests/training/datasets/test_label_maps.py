# SPDX-License-Identifier: Apache-2.0
"""Images beside label maps: what is read, and everything that is wrong said at once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convsmith.errors import FormatError
from convsmith.models import find
from convsmith.training import training_data
from convsmith.training.datasets.label_maps import FOLDERS, MapSet, load_maps
from convsmith.training.tasks import IGNORED

GREY = find("unet_small").preprocess


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def pair(folder: Path, name: str, values: list[int], size: tuple[int, int] = (4, 6)) -> None:
    write(folder / "images" / f"{name}.png", np.full(size, 51))
    write(folder / "labels" / f"{name}.png", np.resize(values, size))


def test_maps_become_classes_and_void_is_ignored(tmp_path: Path) -> None:
    pair(tmp_path, "a", [0, 1, 2, 255])
    found = load_maps(tmp_path / "images", tmp_path / "labels", GREY)
    x, y = found.batch([0])
    assert x.shape == (1, 1, 4, 6)
    assert float(x.unique()) == pytest.approx((51 / 255 - 0.5) / 0.5, rel=1e-6)
    assert y.flatten().tolist() == [0, 1, 2, IGNORED] * 6
    classes = {0: 0, 255: 1}
    pair(tmp_path, "a", [0, 255])
    found = load_maps(tmp_path / "images", tmp_path / "labels", GREY, classes=classes, void=254)
    assert found.batch([0])[1].unique().tolist() == [0, 1]


@pytest.mark.parametrize("names", FOLDERS)
def test_a_folder_is_known_by_its_two_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    for i in range(5):
        write(tmp_path / names[0] / f"{i}.jpg", np.full((4, 4), 10 * i))
        write(tmp_path / names[1] / f"{i}.png", np.full((4, 4), i % 3))
    data = training_data(tmp_path, GREY)
    assert (len(data.train), len(data.held_out)) == (4, 1)
    assert data.options == {"num_classes": 3}
    assert data.task.name == "segmentation"


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    for name in ("good", "better"):
        pair(tmp_path, name, [0, 1])
    pair(tmp_path, "small", [0, 1], size=(2, 2))
    pair(tmp_path, "outside", [0, 7])
    write(tmp_path / "images" / "alone.png", np.zeros((4, 6)))
    write(tmp_path / "labels" / "lost.png", np.zeros((4, 6)))
    pair(tmp_path, "torn", [0])
    (tmp_path / "images" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    pair(tmp_path, "other", [0])
    write(tmp_path / "labels" / "other.png", np.zeros((3, 3)))
    pair(tmp_path, "coloured", [0])
    write(tmp_path / "labels" / "coloured.png", np.zeros((4, 6, 3)))
    with pytest.raises(FormatError, match=r"data .*: 7 files or folders cannot be used") as caught:
        load_maps(tmp_path / "images", tmp_path / "labels", GREY, num_classes=2)
    for said in (
        "alone.png: it has no map in labels/",
        "lost.png: it has no image in images/",
        "torn.png: no readable image: cannot identify",
        "other.png: its map is 3 x 3 pixels of mode L; it needs one number of 0 to 255 for each",
        "coloured.png: its map is 6 x 4 pixels of mode RGB",
        "outside.png: it holds [7]; the classes are [0, 1]",
        "small.png: it is 2 x 2 pixels, others 6 x 4",
    ):
        assert said in str(caught.value), said
    assert "good" not in str(caught.value)


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(FormatError, match="images: the folder holds no image"):
        training_data(tmp_path, GREY)


@pytest.mark.parametrize(
    ("name", "counts", "size", "classes"),
    [("membrane", (16, 4), (512, 512), 2), ("camvid", (10, 3), (360, 480), 11)],
)
def test_segmented_data_sets(
    shared_data: Path, name: str, counts: tuple[int, int], size: tuple[int, int], classes: int
) -> None:
    data = training_data(name, GREY, root=shared_data)
    assert (len(data.train), len(data.held_out)) == counts
    assert data.options == {"num_classes": classes}
    x, y = data.train.batch([0, 1])
    assert x.shape == (2, 1, *size)
    assert set(y.unique().tolist()) <= {IGNORED, *range(classes)}
    assert isinstance(data.train, MapSet)
    assert not {*data.train.images} & {*data.held_out.images}
    assert torch.equal(data.train.batch([1])[1][0], y[1])


def test_two_images_of_one_name_are_said(tmp_path: Path) -> None:
    for i in range(3):
        pair(tmp_path, f"{i}", [0, 1])
    write(tmp_path / "images" / "1.bmp", np.zeros((4, 6)))
    with pytest.raises(FormatError, match=r"1\.png: 1\.bmp has the same name"):
        training_data(tmp_path, GREY)


def test_maps_without_any_class_are_said(tmp_path: Path) -> None:
    for i in range(3):
        pair(tmp_path, f"{i}", [255])
    with pytest.raises(FormatError, match="labels: no pixel of its maps has a class: all are 255"):
        training_data(tmp_path, GREY)

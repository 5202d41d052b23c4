# SPDX-License-Identifier: Apache-2.0
"""Labelled images in their three forms, and files that are not in that form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convsmith.errors import FormatError
from convsmith.models import Preprocess
from convsmith.training import load_images
from convsmith.training.examples import batches

STEPS = Preprocess(size=4, colour="L", mean=(0.0,), std=(1.0,), scale=1.0, label_offset=1)


def write_image(path: Path, grey: int) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("L", (6, 5), grey).save(path)


def greys(x: torch.Tensor) -> list[float]:
    return x[:, 0, 0, 0].tolist()


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_image(tmp_path / "dog" / "b.png", 30)
    write_image(tmp_path / "cat" / "z.bmp", 10)
    write_image(tmp_path / "dog" / "a.PNG", 20)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    images = load_images(tmp_path, STEPS)
    x, y = images.batch(range(3))
    assert x.shape == (3, 1, 4, 4)
    assert greys(x) == [10, 20, 30]
    assert y.tolist() == [1, 2, 2], "class number plus label offset"


def test_sub_folders_that_are_numbers_are_the_class_numbers(tmp_path: Path) -> None:
    write_image(tmp_path / "10" / "a.png", 1)
    write_image(tmp_path / "2" / "a.png", 1)
    assert sorted(load_images(tmp_path, STEPS).labels.tolist()) == [3, 11]


def test_names_of_a_flat_folder_start_with_the_class_number(tmp_path: Path) -> None:
    write_image(tmp_path / "025_n01_b.png", 25)
    write_image(tmp_path / "3.png", 3)
    images = load_images(str(tmp_path), STEPS)
    assert images.labels.tolist() == [26, 4]
    assert greys(images.batch([1])[0]) == [3]


@pytest.mark.parametrize(
    "shape", [(5, 8, 8), (5, 8, 8, 1), (5, 8, 8, 3), (5, 1, 8, 8), (5, 3, 8, 8)]
)
def test_arrays_in_any_usual_layout(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.broadcast_to(np.arange(5, dtype=np.uint8).reshape(5, *(1,) * (len(shape) - 1)), shape)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(5)[:, None] if len(shape) == 3 else np.arange(5))
    images = load_images(tmp_path / "d.npz", STEPS)
    shown = list(batches(images, 2))
    assert [len(y) for _, y in shown] == [2, 2, 1]
    assert greys(torch.cat([x for x, _ in shown])) == [0, 1, 2, 3, 4]
    assert torch.cat([y for _, y in shown]).tolist() == [1, 2, 3, 4, 5]


def test_a_part_holds_the_images_of_its_indices(tmp_path: Path) -> None:
    for i in range(4):
        write_image(tmp_path / f"{i}.png", i)
    np.savez(
        tmp_path / "d.npz", x=np.arange(4, dtype=np.uint8).repeat(9).reshape(4, 3, 3), y=range(4)
    )
    for path in (tmp_path, tmp_path / "d.npz"):
        part = load_images(path, STEPS).part([3, 1])
        x, y = part.batch(range(len(part)))
        assert greys(x) == [3, 1]
        assert y.tolist() == [4, 2]


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", 7)
    (tmp_path / "1.png").write_bytes(b"")
    images = load_images(tmp_path, STEPS)
    shown = batches(images, 1)
    assert greys(next(shown)[0]) == [7]
    with pytest.raises(FormatError, match=r"1\.png is no readable image"):
        next(shown)


@pytest.mark.parametrize("keep", [1, 40, 50])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, suffix: str, keep: int) -> None:
    path = tmp_path / f"1_name{suffix}"
    write_image(path, 7)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=rf"1_name{suffix} is no readable image"):
        load_images(tmp_path, STEPS).batch([0])


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(FormatError, match=rf"{tmp_path.name} holds no image; known are"):
        load_images(tmp_path, STEPS)
    (tmp_path / "class").mkdir()
    with pytest.raises(FormatError, match=rf"{tmp_path.name} holds no image"):
        load_images(tmp_path, STEPS)


def test_a_name_without_a_class_number_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "cat.png", 7)
    with pytest.raises(
        FormatError, match=r"cat\.png: its name does not start with its class number"
    ):
        load_images(tmp_path, STEPS)


def test_what_is_neither_folder_nor_arrays_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"missing is neither a folder nor an \.npz"):
        load_images(tmp_path / "missing", STEPS)
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        load_images(tmp_path / "missing.npz", STEPS)


@pytest.mark.parametrize(
    ("arrays", "values"),
    [
        ({"x": np.zeros((2, 4, 4), np.uint8)}, "no readable x and y: .*y"),
        ({"x": np.zeros((2, 4, 4)), "y": [0, 1]}, r"x has shape \(2, 4, 4\) and type float64"),
        ({"x": np.zeros((2, 4, 4, 5), np.uint8), "y": [0, 1]}, r"x has shape \(2, 4, 4, 5\)"),
        (
            {"x": np.zeros((2, 4, 4), np.uint8), "y": [0]},
            r"y has shape \(1,\) and type int64.* 2 images",
        ),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0.0, 1.0]}, "y has .* type float64"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0, int)}, "0 images"),
        ({"x": np.zeros((2, 0, 4), np.uint8), "y": [0, 1]}, "with at least one pixel"),
        ({"x": np.array([{}, {}], dtype=object), "y": [0, 1]}, "allow_pickle=False"),
    ],
)
def test_arrays_in_another_form_are_an_error(
    tmp_path: Path, arrays: dict[str, Any], values: str
) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(FormatError, match=values):
        load_images(tmp_path / "d.npz", STEPS)


@pytest.mark.parametrize("keep", [0, 30, 300])
def test_a_damaged_archive_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((9, 4, 4), np.uint8), y=np.arange(9))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"d\.npz has no readable x and y"):
        load_images(path, STEPS)

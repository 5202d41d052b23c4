# SPDX-License-Identifier: Apache-2.0
"""Labelled images that are broken: each file is named before training starts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.errors import FormatError
from convsmith.models import find
from convsmith.training import train_network, training_data

GREY = find("digits_vgg").preprocess


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(file)


def test_corrupt_images_and_empty_classes_are_all_named(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        write(tmp_path / name)
    (tmp_path / "fish").mkdir()
    for name in ("cat/torn.png", "dog/empty.jpg"):
        (tmp_path / name).write_bytes(b"")
    whole = (tmp_path / "cat" / "1.png").read_bytes()
    (tmp_path / "dog" / "short.png").write_bytes(whole[:-30])
    with pytest.raises(FormatError, match="4 files or folders cannot be used") as caught:
        train_network("digits_vgg", tmp_path)
    for said in ("fish: the class has no image", "torn.png: no readable", "empty.jpg: no readable"):
        assert said in str(caught.value)
    assert "short.png: no readable image: " in str(caught.value)


def test_all_names_without_a_class_are_listed(tmp_path: Path) -> None:
    for name in ("1_a.png", "cat.png", "dog.png"):
        write(tmp_path / name)
    with pytest.raises(FormatError, match="2 files or folders cannot be used") as caught:
        training_data(tmp_path, GREY)
    assert "cat.png: its name does not start" in str(caught.value)
    assert "dog.png: its name does not start" in str(caught.value)


def test_a_class_number_that_is_outside_is_named(tmp_path: Path) -> None:
    for number in (0, 1, 5):
        write(tmp_path / f"{number}_a.png")
    said = r"5_a\.png: its class is 5; classes are numbered from 0 to 2"
    with pytest.raises(FormatError, match=said):
        training_data(tmp_path, GREY, num_classes=3)
    assert training_data(tmp_path, GREY).options == {"num_classes": 6}
    np.savez(tmp_path / "few.npz", x=np.zeros((3, 8, 8), np.uint8), y=np.array([0, -1, 2]))
    with pytest.raises(FormatError, match="image 1: its class is -1; classes are numbered from 0"):
        training_data(tmp_path / "few.npz", GREY)


def test_an_image_where_no_class_is_looked_for_is_named(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "stray.png", "cat/more/3.png"):
        write(tmp_path / name)
    with pytest.raises(FormatError, match="2 files or folders cannot be used") as caught:
        training_data(tmp_path, GREY)
    assert "stray.png: it lies beside the folders of the classes" in str(caught.value)
    assert "more: its images lie deeper than their class" in str(caught.value)


def test_a_folder_whose_classes_are_all_empty_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    said = r"holds no image in its folders cat, dog; known are .*, in a folder for each class"
    with pytest.raises(FormatError, match=said):
        training_data(tmp_path, GREY)


def test_more_than_8_bits_are_named(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        write(tmp_path / name)
    Image.fromarray(np.full((8, 8), 30_000, np.uint16)).save(tmp_path / "cat" / "deep.png")
    with pytest.raises(FormatError, match=r"deep\.png: its pixels are of mode I;16; those of an"):
        training_data(tmp_path, GREY)

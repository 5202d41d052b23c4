# SPDX-License-Identifier: Apache-2.0
"""Data sets by name, from the shared data; and what is said where it is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convsmith.errors import ArgumentError, FormatError
from convsmith.models import find
from convsmith.training import DATASETS, ImageSet, training_data
from convsmith.training.datasets import cifar10
from convsmith.training.datasets.root import places

GREY = find("digits_vgg").preprocess
COLOUR = find("resnet20").preprocess
COUNTS = {"mnist": (8000, 2000), "fashion_mnist": (20000, 5000)}


@pytest.mark.parametrize("name", COUNTS)
def test_grey_images_of_ten_classes(shared_data: Path, name: str) -> None:
    data = training_data(name, GREY, root=shared_data)
    assert (len(data.train), len(data.held_out)) == COUNTS[name]
    assert data.options == {"num_classes": 10}
    x, y = data.train.batch([0, 1])
    assert x.shape == (2, 1, 32, 32)
    assert y.dtype == torch.int64
    assert isinstance(data.train, ImageSet)
    assert np.bincount(data.train.classes).min() > 0.07 * len(data.train)


@pytest.mark.slow
def test_no_image_of_cifar10_is_in_both_parts(shared_data: Path) -> None:
    data = training_data("cifar10", COLOUR, root=shared_data)
    assert isinstance(data.train, ImageSet)
    assert isinstance(data.held_out, ImageSet)
    assert np.bincount(data.held_out.classes).tolist() == [100] * 10
    # About one of ten lossless images has its JPEG among all, a fifth of these in those held out.
    assert 5930 < len(data.train) < 5990
    held_out = np.asarray(data.held_out.images)
    assert not cifar10._shown_in(np.asarray(data.train.images), held_out).any()


def test_where_a_file_was_sought_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "data mnist: mnist/train_first10000.npz not found in "
    with pytest.raises(ArgumentError, match=f"{missing}{tmp_path}; give --data-root FOLDER or set"):
        training_data("mnist", GREY, root=tmp_path)
    monkeypatch.setenv("CONVSMITH_DATA", str(tmp_path / "mine"))
    with pytest.raises(ArgumentError, match=f"{missing}{tmp_path / 'mine'};"):
        training_data("mnist", GREY)
    monkeypatch.delenv("CONVSMITH_DATA")
    monkeypatch.chdir(tmp_path)
    assert places(None)[0] == tmp_path.parent / "shared" / "data"


def test_a_damaged_archive_is_a_format_error(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    np.savez(
        tmp_path / "cifar10" / "lossless_train_0_1999.npz",
        x=np.zeros((2, 32, 32, 3), np.uint8),
        y=np.arange(2),
    )
    (tmp_path / "cifar10" / "jpeg_train_500_per_class.tar.xz").write_bytes(b"no archive")
    with pytest.raises(FormatError, match=r"cifar10: .*tar\.xz cannot be read"):
        training_data("cifar10", COLOUR, root=tmp_path)


def test_a_name_that_is_nothing_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="data digit: no such folder or file, and no data set"):
        training_data("digit", GREY)
    assert "digits" in DATASETS

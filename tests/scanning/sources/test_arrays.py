# SPDX-License-Identifier: Apache-2.0
"""Arrays, views of them, memory maps and `.npy` files."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources import ArraySource
from convsmith.scanning.sources.arrays import open_npy

from .windows import assert_reads

CUBE = np.random.default_rng(0).integers(0, 200, (3, 20, 30)).astype(np.uint8)
ORDERS = {"CHW": (0, 1, 2), "HWC": (1, 2, 0), "WCH": (2, 0, 1), "WHC": (2, 1, 0)}


@pytest.mark.parametrize("axes", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, ">i4", np.float16, np.bool_, np.int64])
def test_any_order_and_type(axes: str, dtype: type) -> None:
    values = CUBE.astype(dtype)
    native = values.astype(values.dtype.newbyteorder("="))
    assert_reads(ArraySource(values.transpose(ORDERS[axes]), axes=axes), native)


@pytest.mark.parametrize("shape", [(2, 50), (2, 9, 10), (2, 4, 5, 6)])
def test_one_two_and_three_axes_of_space(shape: tuple[int, ...]) -> None:
    values = CUBE.ravel()[: np.prod(shape)].reshape(shape)
    assert_reads(ArraySource(values), values)
    assert_reads(ArraySource(values[0], axes="ZYX"[-len(shape) + 1 :]), values[:1])


def test_a_view_of_a_memory_map_pickles_as_its_file(tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(0, 200, (3, 200, 300)).astype(np.uint8)
    np.save(tmp_path / "image.npy", large)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    for view, whole in (
        (mapped, large),
        (mapped[1:, ::-1, 7:-1:2], large[1:, ::-1, 7:-1:2]),
        (np.asarray(mapped)[:, 3:], large[:, 3:]),
    ):
        source = ArraySource(view)
        assert len(pickle.dumps(source)) < 1000
        assert source.identity["path"] == str(tmp_path / "image.npy")
        assert_reads(source, whole)
    assert_reads(open_npy(tmp_path / "image.npy"), large)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(large))
    assert_reads(open_npy(tmp_path / "fortran.npy", axes="CHW"), large)


def test_another_image_has_another_identity(tmp_path: Path) -> None:
    changed = CUBE.copy()
    changed[2, 19, 29] ^= 1
    same = ArraySource(CUBE.copy()).identity
    assert ArraySource(CUBE).identity == same
    others = (changed, CUBE.view(np.int8), CUBE.reshape(3, 30, 20))
    assert all(ArraySource(other).identity != same for other in others)
    assert ArraySource(CUBE, axes="HWC").identity != same


def test_what_no_scan_can_walk_is_refused() -> None:
    with pytest.raises(FormatError, match=r"an image of shape \(3, 0, 4\) is empty; there is"):
        ArraySource(np.zeros((3, 0, 4)))
    with pytest.raises(UnsupportedError, match=r"its 5 axes are \(1, 1, 1, 1, 1\); a source has"):
        ArraySource(np.zeros((1, 1, 1, 1, 1)))
    with pytest.raises(UnsupportedError, match="its samples are complex128; bool, integers and"):
        ArraySource(np.zeros((1, 4, 4), complex))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.npy"
    np.save(path, CUBE)
    data = path.read_bytes()
    huge = data.replace(b"(3, 20, 30), }" + b" " * 12, b"(3, 20000000000000, 30), }")
    assert len(huge) == len(data) != huge.count(b" ")
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    for bad in (data[:-1], data[:9], data[:40], huge, (tmp_path / "objects.npy").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=r"no readable \.npy of numbers: .*; save it again"):
            open_npy(path)

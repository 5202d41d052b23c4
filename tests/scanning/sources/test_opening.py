# SPDX-License-Identifier: Apache-2.0
"""The content of a file decides how it is read."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from convsmith.errors import ArgumentError, FormatError
from convsmith.scanning.sources import SyntheticSource, open_source
from convsmith.scanning.sources.protocol import held_bytes

from .windows import assert_reads

COLOUR = np.random.default_rng(0).integers(0, 200, (20, 30, 3)).astype(np.uint8)
WHOLE = COLOUR.transpose(2, 0, 1)


def test_whatever_holds_an_image_is_opened(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "picture", "PNG")
    tifffile.imwrite(tmp_path / "tiff", COLOUR, photometric="rgb")
    tifffile.imwrite(tmp_path / "bigtiff", COLOUR, photometric="rgb", bigtiff=True, byteorder=">")
    with (tmp_path / "array").open("wb") as file:
        np.save(file, WHOLE)
    for name in ("picture", "tiff", "bigtiff", "array"):
        assert_reads(open_source(tmp_path / name), WHOLE, tries=4)
        assert_reads(open_source(str(tmp_path / name), channels=[1]), WHOLE[1:2], tries=4)
    assert_reads(open_source(torch.from_numpy(COLOUR), axes="HWC"), WHOLE, tries=4)
    assert_reads(open_source(tmp_path / "array", axes="CYX"), WHOLE, tries=4)
    source = SyntheticSource((1, 9, 9))
    assert open_source(source) is source


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="open_source: dict is no image; an array, a tensor"):
        open_source({})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "nothing")
    for content in (b"", b"hello", b"\x89PN"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(FormatError, match=r"begins with b.*, which is no image that is read"):
            open_source(tmp_path / "file")


def test_axes_that_are_known_are_not_asked_for(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "picture.png")
    for image in (tmp_path / "picture.png", SyntheticSource((1, 9, 9))):
        with pytest.raises(ArgumentError, match="whose axes are known; leave it out"):
            open_source(image, axes="HWC")


def test_a_source_says_what_it_keeps_decoded(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert held_bytes(open_source(tmp_path / "image.png", channels=[0])) == 7 * 20 * 30
    tifffile.imwrite(tmp_path / "image.tif", pixels, compression="zlib")
    assert held_bytes(open_source(tmp_path / "image.tif")) == 3 * 20 * 30
    tifffile.imwrite(tmp_path / "mapped.tif", pixels)
    assert held_bytes(open_source(tmp_path / "mapped.tif")) == 0
    (tmp_path / "frames").mkdir()
    for number in range(4):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{number}.png")
    assert held_bytes(open_source(tmp_path / "frames")) == (4 * 3 + 7) * 20 * 30
    assert held_bytes(open_source(tmp_path / "frames", budget=7 * 20 * 30)) == 2 * 7 * 20 * 30

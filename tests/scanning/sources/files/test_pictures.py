# SPDX-License-Identifier: Apache-2.0
"""Pictures of every mode that is read; what would not fit, or is damaged, is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources.files.pictures import PictureSource

from ..windows import assert_reads

COLOUR = np.random.default_rng(0).integers(0, 200, (70, 130, 4)).astype(np.uint8)
MODES = {
    "1.png": COLOUR[..., 0] > 100,
    "L.png": COLOUR[..., 0],
    "LA.png": COLOUR[..., :2],
    "RGB.png": COLOUR[..., :3],
    "RGBA.png": COLOUR,
    "RGB.bmp": COLOUR[..., :3],
    "RGB.ppm": COLOUR[..., :3],
    "L.pgm": COLOUR[..., 0],
    "I;16.png": COLOUR[..., 0].astype(np.uint16) * 300,
    "F.pfm": COLOUR[..., 0].astype(np.float32) / 7,
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(tmp_path: Path, name: str) -> None:
    values = MODES[name]
    Image.fromarray(values).save(tmp_path / name)
    whole = np.atleast_3d(values).transpose(2, 0, 1)
    source = PictureSource(tmp_path / name)
    assert_reads(source, 255 * whole.astype(np.uint8) if values.dtype == bool else whole)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(COLOUR[..., :3]).quantize(16)
    image.save(tmp_path / "palette.png")
    assert_reads(
        PictureSource(tmp_path / "palette.png"), np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    )


def test_a_jpeg_is_what_pillow_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "colour.jpg"
    Image.fromarray(COLOUR[..., :3]).save(path)
    assert_reads(PictureSource(path), np.asarray(Image.open(path)).transpose(2, 0, 1))


def test_the_budget_is_asked_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "colour.png"
    Image.fromarray(COLOUR[..., :3]).save(path)
    needed = 130 * 70 * (4 + 3)
    PictureSource(path, budget=needed)
    with pytest.raises(FormatError, match=r"decoding 130 x 70 pixels of RGB takes 63,700 bytes"):
        PictureSource(path, budget=needed - 1)


def test_more_pixels_than_pillow_allows_are_read_if_the_budget_does(tmp_path: Path) -> None:
    """Pillow refuses 179 million pixels and warns of 89 million."""
    path = tmp_path / "long.png"
    Image.new("1", (100_000, 1000)).save(path)
    assert PictureSource(path).shape == (1, 1000, 100_000)
    with pytest.raises(FormatError, match="decoding 100,000 x 1,000 pixels of 1 takes"):
        PictureSource(path, budget=2**20)


def test_damaged_pictures_are_refused(tmp_path: Path) -> None:
    for name in ("picture.png", "picture.jpg", "picture.bmp", "picture.ppm"):
        path = tmp_path / name
        Image.fromarray(COLOUR[..., :3]).save(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(FormatError, match="the picture is damaged or truncated: "):
            PictureSource(path).read((slice(0, 70), slice(0, 130)))
        path.write_bytes(data[:9])
        with pytest.raises(FormatError, match=r"its header is damaged: .*; fetch it again"):
            PictureSource(path)
    path.write_bytes(b"hello")
    with pytest.raises(FormatError, match="it begins with b'hello'; PNG, JPEG, BMP, PPM are read"):
        PictureSource(path)


def test_a_jpeg_with_too_few_bytes_for_its_pixels_is_refused(tmp_path: Path) -> None:
    """Its decoder would make up what is missing."""
    path = tmp_path / "colour.jpg"
    Image.fromarray(COLOUR[..., :3]).save(path)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (9000).to_bytes(2, "big") * 2
    path.write_bytes(data)
    with pytest.raises(FormatError, match="a JPEG of 9,000 x 9,000 pixels takes at least 158,203"):
        PictureSource(path)


def test_a_picture_that_changes_size_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(COLOUR[..., :3]).save(path)
    source = PictureSource(path)
    Image.fromarray(COLOUR[:50, ..., :3]).save(path)
    with pytest.raises(FormatError, match="damaged or truncated: its size has changed from 130"):
        source.read((slice(0, 1), slice(0, 1)))


def test_other_colours_are_named(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "ink.jpg")
    with pytest.raises(UnsupportedError, match="its pixels are CMYK; grey and RGB are read"):
        PictureSource(tmp_path / "ink.jpg")

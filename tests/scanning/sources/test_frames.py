# SPDX-License-Identifier: Apache-2.0
"""A folder of frames is a stack, ordered as people count."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from convsmith.errors import FormatError, UnsupportedError
from convsmith.scanning.sources import open_source, slices

from .windows import assert_reads

FRAMES = np.random.default_rng(0).integers(0, 200, (12, 20, 30, 3)).astype(np.uint8)
WHOLE = FRAMES.transpose(3, 0, 1, 2)


def saved(folder: Path) -> Path:
    """Twelve frames: frame_9.png comes before frame_10.png, and a hidden file is none."""
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(folder / f"frame_{number}.png")
    (folder / ".thumbnails").write_text("")
    return folder


def test_frames_are_slices_in_their_order(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path))
    assert_reads(source, WHOLE, tries=10)
    for frame, values in zip(slices(source), FRAMES, strict=True):
        assert np.array_equal(frame.read((slice(0, 20), slice(0, 30))), values.transpose(2, 0, 1))


def test_another_frame_is_another_image(tmp_path: Path) -> None:
    before = open_source(saved(tmp_path)).identity
    Image.fromarray(FRAMES[0]).save(tmp_path / "frame_12.png")
    assert open_source(tmp_path).identity != before


def test_frames_of_any_format(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "1.tif", FRAMES[0], photometric="rgb")
    np.save(tmp_path / "2.npy", WHOLE[:, 1])
    assert_reads(open_source(tmp_path), WHOLE[:, :2], tries=5)


def test_frames_that_are_not_alike_are_named(tmp_path: Path) -> None:
    Image.fromarray(FRAMES[0, :9]).save(saved(tmp_path) / "frame_5.png")
    source = open_source(tmp_path)
    source.read((slice(0, 5), slice(0, 20), slice(0, 30)))
    with pytest.raises(FormatError, match=r"frame_5.png: its shape is \(3, 9, 30\) uint8, and the"):
        source.read((slice(4, 6), slice(0, 9), slice(0, 30)))


def test_what_holds_no_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="is an empty folder; a folder of frames holds images"):
        open_source(tmp_path)
    np.save(tmp_path / "line.npy", np.zeros((3, 9)))
    with pytest.raises(UnsupportedError, match=r"its shape is \(3, 9\); a frame has channels"):
        open_source(tmp_path)

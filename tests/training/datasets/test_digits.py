# SPDX-License-Identifier: Apache-2.0
"""The digits that scikit-learn carries, read without scikit-learn."""

import gzip
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from convsmith.errors import FormatError, UnsupportedError
from convsmith.models import find
from convsmith.training import digits

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed"
)
STEPS = find("digits_vgg").preprocess


def test_the_split_is_whole_and_always_the_same() -> None:
    data = digits.load(STEPS)
    assert (len(data.train), len(data.held_out)) == (1400, 397)
    pixels = [image.tobytes() for part in (data.train, data.held_out) for image in part.images]
    assert len(pixels) == 1797
    again = digits.load(STEPS)
    assert (again.held_out.images == data.held_out.images).all()
    # torch's generator is not promised to stay the same; weights in the package depend on it.
    held_out = hashlib.sha256(data.held_out.images.tobytes()).hexdigest()
    assert held_out.startswith("df0ac44590002ddf")


def test_both_parts_hold_every_digit() -> None:
    data = digits.load(STEPS)
    for part in (data.train, data.held_out):
        assert sorted(set(part.labels.tolist())) == list(range(10))
        assert part.labels.bincount().min() >= len(part) * 0.07


def test_a_network_is_built_for_ten_digits() -> None:
    network = find("mobilenet_v1").build(width=0.125, **digits.load(STEPS).options)
    assert network.classifier.out_features == 10  # not the thousand of its publication


def test_grey_levels_fill_the_range_of_a_byte() -> None:
    images = digits.load(STEPS).train.images
    assert images.shape == (1400, 8, 8)
    assert sorted(set(images.flatten().tolist())) == [
        round(level * 255 / 16) for level in range(17)
    ]


def test_held_out_images_are_ready_for_the_network() -> None:
    x, y = digits.held_out()
    assert x.shape == (397, 1, 32, 32)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (-1.0, 1.0)
    assert y.shape == (397,)
    assert torch.equal(y, digits.load(STEPS).held_out.labels)


def test_scikit_learn_is_read_but_not_imported() -> None:
    program = (
        "import sys; from convsmith.training import digits; digits.held_out(); "
        "print([m for m in ('sklearn', 'scipy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_without_scikit_learn_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"not installed; pip install scikit-learn"):
        digits.load(STEPS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"1,2,3\n4,5,6\n"), r"2 rows of 3 numbers; expected 1797 of 65"),
        (gzip.compress(b"1,x\n"), r"digits\.csv\.gz cannot be read: .*x"),
        (b"no archive", r"digits\.csv\.gz cannot be read: Not a gzipped file"),
        (gzip.compress(b"1,2\n" * 99)[:-9], r"digits\.csv\.gz cannot be read"),
    ],
    ids=["too few", "not numbers", "no archive", "cut short"],
)
def test_another_file_is_a_format_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(content)
    monkeypatch.setattr(digits, "_file", lambda: tmp_path / "digits.csv.gz")
    with pytest.raises(FormatError, match=message):
        digits.load(STEPS)

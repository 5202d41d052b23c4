# SPDX-License-Identifier: Apache-2.0
"""Published weights against the numbers measured with them; top-1 counts are in tests/training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convsmith import models


@pytest.fixture(scope="module")
def expected(shared_data: Path) -> dict[str, Any]:
    return json.loads((shared_data / "expected.json").read_text())["results"]


def test_a_person_is_told_from_a_cat_and_a_cup(shared_data: Path, expected: dict[str, Any]) -> None:
    weights = shared_data / "weights" / "mlperf_tiny_vww_96_float.npz"
    model = models.create("mobilenet_v1_vww", weights=weights)
    numbers = expected["mlperf tiny VWW [no person, person]"]
    for name in ("grace_hopper.bmp", "chelsea.png", "coffee.png"):
        image = model.preprocess(Image.open(shared_data / "photos" / name))
        with torch.no_grad():
            probabilities = model(image[None]).softmax(1)[0].tolist()
        assert [round(p, 4) for p in probabilities] == numbers[name]


def peak_signal_to_noise(image: np.ndarray, truth: np.ndarray) -> float:
    """In decibels, of pixels from 0 to 255, without a border of 4."""
    inside = (slice(4, -4), slice(4, -4))
    error = np.mean((image[inside].astype(np.float64) - truth[inside]) ** 2)
    return float(10 * np.log10(255**2 / error))


def test_fsrcnn_enlarges_better_than_bicubic(shared_data: Path, expected: dict[str, Any]) -> None:
    weights = shared_data / "weights" / "fsrcnn_subpixel_x2.npz"
    model = models.create("fsrcnn_subpixel", weights=weights)
    numbers = expected["fsrcnn_subpixel_x2 PSNR"]
    for name in ("bridge.png", "coastguard.png", "monarch.png", "zebra.png"):
        luminance = Image.open(shared_data / "set14" / name).convert("YCbCr").getchannel("Y")
        width, height = (size // 2 * 2 for size in luminance.size)
        truth = luminance.crop((0, 0, width, height))
        small = truth.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
        with torch.no_grad():
            y = model(torch.from_numpy(np.array(small, np.float32) / 255)[None, None])[0, 0]
        enlarged = (y.clamp(0, 1) * 255).numpy()
        bicubic = np.array(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        found = {
            "bicubic": round(peak_signal_to_noise(bicubic, np.array(truth, np.float32)), 2),
            "fsrcnn": round(peak_signal_to_noise(enlarged, np.array(truth, np.float32)), 2),
        }
        assert found == numbers[name]


@pytest.mark.slow
def test_deeplab_finds_the_cat_and_the_admiral(shared_data: Path) -> None:
    weights = shared_data / "weights" / "deeplabv3_mnv2_dm05_pascal_quant.npz"
    model = models.create("deeplab_mobilenet_v2", weights=weights)
    assert model.recipe.options["width"] == 0.5
    # Pascal VOC: 0 background, 8 cat, 15 person. The masks were looked at.
    for name, found, nothing in (
        ("chelsea.png", 8, (0, 0)),
        ("grace_hopper.bmp", 15, (0, -1)),
        ("cat_1080p.jpg", 8, (0, 0)),
    ):
        image = model.preprocess(Image.open(shared_data / "photos" / name))
        with torch.no_grad():
            labels = model(image[None])[0].argmax(0)
        assert set(labels.unique().tolist()) == {0, found}
        assert labels[256, 256 - 50] == found
        assert labels[nothing] == 0

# SPDX-License-Identifier: Apache-2.0
"""Published weights against the numbers measured with them; top-1 counts are in tests/training."""

import json
from pathlib import Path
from typing import Any

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

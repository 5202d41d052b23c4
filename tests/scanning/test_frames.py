# SPDX-License-Identifier: Apache-2.0
"""A network of pictures over a row of frames: every frame by itself, as if scanned alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convsmith as cs
from convsmith.errors import ArgumentError

EXAMPLE = torch.zeros(1, 1, 16, 16)


def small_integers(*layers: nn.Module) -> nn.Module:
    network = nn.Sequential(*layers).eval()
    for weight in network.parameters():
        weight.data = torch.randint(-3, 4, weight.shape).float()
    return network


def test_every_frame_is_scanned_as_if_alone(tmp_path: Path) -> None:
    network = small_integers(
        nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)
    )
    frames = np.random.default_rng(0).integers(0, 255, (5, 61, 50), np.uint8)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    result = cs.scan(network, tmp_path / "frames", tmp_path / "out", example=EXAMPLE)
    assert result.plan.cores[0] == 1
    with torch.no_grad():
        alone = network(torch.from_numpy(frames).float()[:, None]).transpose(0, 1)
    assert np.array_equal(result.store.read((slice(0, 5), slice(0, 31), slice(0, 25))), alone)


def test_a_classifier_slides_over_every_frame(tmp_path: Path) -> None:
    classifier = small_integers(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2 * 12 * 12, 3))
    frames = torch.randint(0, 5, (1, 4, 19, 21)).float()
    result = cs.scan(classifier, frames, tmp_path, example=EXAMPLE)
    assert result.prospect.coincide
    found = result.store.read((slice(0, 4), slice(0, 4), slice(0, 6)))
    with torch.no_grad():
        corner = classifier(frames[0, :, None, 3:, 5:])
    assert np.array_equal(found[:, :, 3, 5].T, corner)


@pytest.mark.parametrize("wish", [{"promise": "patch"}, {"two_pass": True}])
def test_what_frames_do_not_have(wish: dict[str, object], tmp_path: Path) -> None:
    classifier = nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2 * 12 * 12, 3))
    with pytest.raises(ArgumentError, match=r"row of frames.*scan one frame"):
        cs.scan(classifier, torch.zeros(1, 4, 19, 21), tmp_path, example=EXAMPLE, **wish)  # type: ignore[arg-type]

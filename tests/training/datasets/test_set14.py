# SPDX-License-Identifier: Apache-2.0
"""Photos at half their size, and the published numbers of bicubic interpolation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convsmith.errors import ArgumentError, FormatError
from convsmith.models import create, find
from convsmith.training import Recipe, training_data
from convsmith.training.draws import Draws
from convsmith.training.tasks import SuperResolution

STEPS = find("fsrcnn").preprocess


def photos(folder: Path, size: tuple[int, int] = (21, 30)) -> Path:
    for name in ("photos", "set14"):
        (folder / name).mkdir()
        pixels = np.arange(size[0] * size[1] * 3).reshape(*size, 3) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / "a.png")
    return folder


def test_patches_are_cut_alike_from_small_and_large(tmp_path: Path) -> None:
    data = training_data("set14", replace(STEPS, size=5), root=photos(tmp_path))
    assert (len(data.train), len(data.held_out)) == (2 * 3, 1)
    x, y = data.train.batch([0, 5])
    assert (x.shape, y.shape) == ((2, 1, 5, 5), (2, 1, 10, 10))
    whole = data.held_out.batch([0])
    assert (whole[0].shape, whole[1].shape) == ((1, 1, 10, 15), (1, 1, 20, 30))
    assert torch.equal(x[1], whole[0][0, :, 5:10, 10:15])
    assert torch.equal(y[1], whole[1][0, :, 10:20, 20:30])
    assert data.train.part([5]).batch([0])[0].equal(x[1:])


def test_photos_smaller_than_a_patch_are_an_error(tmp_path: Path) -> None:
    said = "holds 256 x 256 pixels; give a smaller size than 128"
    with pytest.raises(FormatError, match=said):
        training_data("set14", STEPS, root=photos(tmp_path))


def test_an_image_of_another_size_is_an_error() -> None:
    said = r"outputs \(1, 1, 4, 4\), the large images are \(1, 1, 8, 8\); it must enlarge by 2"
    with pytest.raises(ArgumentError, match=said):
        SuperResolution(2).loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 8, 8), Recipe())


def test_small_and_large_are_mirrored_together() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2).expand(30, 1, 2, 2)
    y = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    draws = Draws(images=30, generator=torch.Generator().manual_seed(0))
    small, large = SuperResolution(2).augmented(x, y, Recipe(flip=True), draws)
    assert torch.equal(large[..., ::2, ::2], small)
    assert 0 < int((small[:, 0, 0, 0] == 1).sum()) < 30


@pytest.mark.slow
def test_the_published_numbers_of_set14(shared_data: Path) -> None:
    pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
    weights = shared_data / "weights" / "fsrcnn_subpixel_x2.npz"
    model = create("fsrcnn_subpixel", weights=weights)
    data = training_data("set14", model.preprocess, root=shared_data)
    found = data.task.measure(model, data.held_out, 1)
    # expected.json has them image by image, rounded to hundredths.
    bicubic, ours = np.mean([26.59, 27.81, 31.56, 29.28]), np.mean([27.07, 28.45, 33.61, 30.61])
    assert found["bicubic_psnr_db"] == pytest.approx(bicubic, abs=0.01)
    assert found["held_out_psnr_db"] == pytest.approx(ours, abs=0.01)

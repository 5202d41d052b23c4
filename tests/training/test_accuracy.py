# SPDX-License-Identifier: Apache-2.0
"""Counting right answers, and the published numbers of the shared weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convsmith import models
from convsmith.training import Accuracy, ImageSet, accuracy, digits, load_images
from convsmith.training.datasets import cifar10


class ScoresOf(nn.Module):
    """Gives the next rows of a table, whatever the images."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.row = 0

    def forward(self, x: Tensor) -> Tensor:
        first, self.row = self.row, self.row + len(x)
        return self.table[first : self.row]


def images(classes: list[int]) -> ImageSet:
    return ImageSet(
        images=np.zeros((len(classes), 2, 2), np.uint8),
        classes=np.array(classes),
        preprocess=models.find("digits_vgg").preprocess,
    )


def test_the_largest_and_the_five_largest_are_counted() -> None:
    scores = torch.arange(7.0).repeat(4, 1)  # the largest is 6, then 5, 4, 3, 2
    counted = accuracy(ScoresOf(scores), images([6, 2, 1, 6]), batch_size=3)
    assert counted == Accuracy(top1=2, top5=3, images=4)
    assert counted.top1_fraction == 0.5


def test_fewer_than_five_outputs() -> None:
    assert accuracy(ScoresOf(torch.eye(3)), images([0, 1, 1])) == Accuracy(top1=2, top5=3, images=3)


def test_the_embedded_weights_reach_what_they_say() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    model = models.create("digits_vgg", weights="embedded")
    counted = accuracy(model, digits.load(model.preprocess).held_out)
    description = Path(models.__file__).parent / "weights" / "digits_vgg.json"
    stated = json.loads(description.read_text())["held_out_accuracy"]
    assert counted.top1_fraction >= 0.97
    # Another machine sums in another order: an image on the edge may change sides.
    assert abs(counted.top1 - stated * counted.images) < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet_v1", "mobilenet_v1_0.25_128_quant"),
        ("mobilenet_v2", "mobilenet_v2_1.0_224_quant"),
    ],
)
def test_mobilenet_reaches_the_measured_numbers(shared_data: Path, name: str, file: str) -> None:
    expected = json.loads((shared_data / "expected.json").read_text())["results"]
    numbers = expected[f"{file} (dequantised, float)"]
    model = models.create(name, weights=shared_data / "weights" / f"{file}.npz")
    counted = accuracy(model, load_images(shared_data / "imagenet", model.preprocess))
    assert (counted.top1, counted.top5, counted.images) == (
        numbers["top1"],
        numbers["top5"],
        numbers["images"],
    )


def check_measured(shared_data: Path, result: str, model: models.Model, images: ImageSet) -> None:
    expected = json.loads((shared_data / "expected.json").read_text())["results"]
    numbers = expected[result]
    counted = accuracy(model, images, batch_size=100)
    assert (counted.top1, counted.images) == (numbers["correct"], numbers["images"])


def resnet20(shared_data: Path) -> models.Model:
    weights = shared_data / "weights" / "cifar10_resnet20-12fca82f.th"
    return models.create("resnet20", weights=weights)


@pytest.mark.slow
def test_resnet20_reaches_the_measured_numbers(shared_data: Path) -> None:
    model = resnet20(shared_data)
    cifar = load_images(shared_data / "cifar10" / "lossless_train_0_1999.npz", model.preprocess)
    check_measured(shared_data, "resnet20 lossless train", model, cifar)


@pytest.mark.slow
def test_resnet20_reaches_the_measured_numbers_on_jpegs(shared_data: Path) -> None:
    model = resnet20(shared_data)
    pixels, classes = cifar10._unpacked(shared_data / "cifar10" / "jpeg_train_500_per_class.tar.xz")
    images = ImageSet(images=pixels, classes=classes, preprocess=model.preprocess)
    check_measured(shared_data, "resnet20 jpeg train", model, images)


@pytest.mark.slow
def test_resnet8_reaches_the_measured_numbers(shared_data: Path) -> None:
    weights = shared_data / "weights" / "mlperf_tiny_pretrainedResnet.npz"
    model = models.create("resnet8", weights=weights)
    cifar = load_images(shared_data / "cifar10" / "lossless_train_0_1999.npz", model.preprocess)
    result = "mlperf tiny ResNet8 lossless train (input 0..255)"
    check_measured(shared_data, result, model, cifar)

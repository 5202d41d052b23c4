# SPDX-License-Identifier: Apache-2.0
"""Training on a few bright and dark images: it learns, and the same seed gives the same weights."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from convsmith import models
from convsmith.errors import ArgumentError
from convsmith.training import Epoch, ImageSet, TrainingData, split, train
from convsmith.training.loop import shifted


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def bright_and_dark(classes: int = 2) -> TrainingData:
    rng = np.random.default_rng(0)
    numbers = np.arange(60) % classes
    pixels = rng.integers(0, 100, (60, 8, 8)) + 100 * (numbers % 2)[:, None, None]
    images = ImageSet(
        images=pixels.astype(np.uint8),
        classes=numbers.astype(np.int64),
        preprocess=models.find("digits_vgg").preprocess,
    )
    return split(images, held_out=20, seed=0)


def small(**options: Any) -> models.Model:
    torch.manual_seed(1)
    return models.create("digits_vgg", num_classes=2, width=0.25, **options)


def test_the_loss_falls_and_the_held_out_images_are_told_apart() -> None:
    model = small()
    seen: list[Epoch] = []
    result = train(model, bright_and_dark(), epochs=6, batch_size=4, lr=1e-2, progress=seen.append)
    assert result.history == tuple(seen)
    assert [(epoch.number, epoch.epochs) for epoch in seen] == [(n, 6) for n in range(1, 7)]
    assert seen[-1].loss < 0.5 * seen[0].loss
    assert result.held_out_accuracy == 1.0
    assert result.seconds > 0
    assert not model.training


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    states = []
    for seed in (5, 5, 6):
        model = small()
        train(model, bright_and_dark(), epochs=1, batch_size=16, seed=seed)
        states.append(model.state_dict())
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())
    assert any(not torch.equal(t, states[2][name]) for name, t in states[0].items())


def test_the_random_state_of_the_caller_is_not_touched() -> None:
    before = torch.get_rng_state()
    model = models.create("lenet5", device="meta").to_empty(device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    train(model, bright_and_dark(), epochs=1, batch_size=40)
    assert torch.equal(torch.get_rng_state(), before)


def test_shifts_move_the_image_and_repeat_its_edge() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4).expand(50, 2, 4, 4)
    y = shifted(x, 1)
    padded = torch.nn.functional.pad(x[:1], (1,) * 4, mode="replicate")[0]
    possible = {(r, c): padded[:, r : r + 4, c : c + 4] for r in range(3) for c in range(3)}
    found = {place for image in y for place, moved in possible.items() if torch.equal(image, moved)}
    assert all(any(torch.equal(image, moved) for moved in possible.values()) for image in y)
    assert len(found) == 9
    assert torch.equal(shifted(x, 0), x)


def test_a_class_without_an_output_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"class 2, .* outputs 0 to 1; .* num_classes=3"):
        train(small(), bright_and_dark(classes=3), epochs=1)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"shift": -1}])
def test_settings_that_make_no_sense_are_an_error(wrong: dict[str, Any]) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ArgumentError, match=f"{key} {value}"):
        train(small(), bright_and_dark(), **{"epochs": 1, **wrong})

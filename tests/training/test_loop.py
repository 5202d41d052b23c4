# SPDX-License-Identifier: Apache-2.0
"""Training on a few bright and dark images: it learns, and the same seed gives the same weights."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convsmith import models
from convsmith.errors import ArgumentError
from convsmith.training import Epoch, ImageSet, Recipe, Step, TrainingData, split, train
from convsmith.training.tasks import Classification


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
    return split(images, held_out=20, seed=0, task=Classification())


def small(**options: Any) -> models.Model:
    torch.manual_seed(1)
    return models.create("digits_vgg", num_classes=2, width=0.25, **options)


def test_the_loss_falls_and_the_held_out_images_are_told_apart() -> None:
    model = small()
    seen: list[Epoch] = []
    recipe = Recipe(epochs=6, batch_size=4, lr=1e-2)
    steps: list[Step] = []
    result = train(model, bright_and_dark(), recipe, on_epoch=seen.append, on_step=steps.append)
    assert result.history == tuple(seen)
    assert [(epoch.number, epoch.epochs) for epoch in seen] == [(n, 6) for n in range(1, 7)]
    assert seen[-1].loss < 0.5 * seen[0].loss
    assert result.measures == {"held_out_accuracy": 1.0}
    assert [(step.number, step.steps) for step in steps] == [(n, 60) for n in range(1, 61)]
    assert max(step.lr for step in steps) == pytest.approx(1e-2, rel=1e-9)
    assert not model.training


def test_no_second_is_told_twice() -> None:
    start = time.perf_counter()
    result = train(small(), bright_and_dark(), Recipe(epochs=2))
    assert 0 < result.seconds <= time.perf_counter() - start


def test_the_same_seed_gives_the_same_weights_bit_for_bit() -> None:
    states = []
    for seed in (5, 5, 6):
        model = small()
        train(model, bright_and_dark(), Recipe(epochs=1, batch_size=16, seed=seed))
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
    train(model, bright_and_dark(), Recipe(epochs=1, batch_size=40))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_class_without_an_output_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"class 2, .* outputs 0 to 1; .* num_classes=3"):
        train(small(), bright_and_dark(classes=3), Recipe(epochs=1))


def normed() -> nn.Module:
    """Its batch-norm sees as many values as there are images."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_last_image_alone_is_left_out() -> None:
    steps: list[Step] = []
    recipe = Recipe(epochs=4, batch_size=13)  # of 40 images
    train(normed(), bright_and_dark(), recipe, on_step=steps.append)
    assert [(step.number, step.steps) for step in steps] == [(n, 12) for n in range(1, 13)]
    # What is left out is no step of the schedule, which ends where it falls to nothing.
    assert steps[-1].lr < 1e-3 * max(step.lr for step in steps)


def test_a_batch_norm_with_one_value_is_an_error() -> None:
    said = r"a batch of 1 leaves a batch-norm one value .* more than batch_size 1, or larger images"
    with pytest.raises(ArgumentError, match=said):
        train(normed(), bright_and_dark(), Recipe(epochs=1, batch_size=1))
    small_batches = small()
    train(small_batches, bright_and_dark(), Recipe(epochs=1, batch_size=1))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd", "lr": 0.05},
        {"optimizer": "sgd", "momentum": 0.0, "lr": 0.1},
        {"schedule": "cosine", "warmup": 0.2},
        {"label_smoothing": 0.1, "flip": True},
        {"precision": "bf16"},
        {"ema": 0.9},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_a_recipe_learns(change: dict[str, Any]) -> None:
    recipe = Recipe(**{"epochs": 5, "batch_size": 4, "lr": 1e-2, **change})
    assert train(small(), bright_and_dark(), recipe).measures["held_out_accuracy"] >= 0.8


def test_the_average_of_the_weights_is_what_is_kept() -> None:
    """Against the same training without an average, followed by hand."""
    plain, averaged = small(), small()
    expected: dict[str, torch.Tensor] = {}

    def follow(step: Step) -> None:
        for name, weights in plain.named_parameters():
            now = weights.detach().double()
            kept = min(0.25, step.number / (9 + step.number)) if step.number > 1 else 0.0
            expected[name] = now - kept * (now - expected.get(name, now))

    train(plain, bright_and_dark(), Recipe(epochs=1, batch_size=8), on_step=follow)
    train(averaged, bright_and_dark(), Recipe(epochs=1, batch_size=8, ema=0.25))
    for name, weights in averaged.named_parameters():
        # Five float32 averages, each rounded by half a unit of at most the largest weight.
        bound = 5 * torch.finfo(torch.float32).eps * float(expected[name].abs().max())
        assert (weights - expected[name]).abs().max() <= bound, name

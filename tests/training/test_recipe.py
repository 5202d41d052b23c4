# SPDX-License-Identifier: Apache-2.0
"""The sizes of the steps, and recipes that make no sense."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from convsmith.errors import ArgumentError
from convsmith.training import Recipe


def sizes(recipe: Recipe, steps: int) -> list[float]:
    optimizer = recipe.optimizer_of(nn.Linear(1, 1))
    schedule = recipe.schedule_of(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_the_cosine_rises_over_the_warm_up_and_falls_to_nothing() -> None:
    found = sizes(Recipe(schedule="cosine", warmup=0.2, lr=1.0), 20)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    expected = [(1 + math.cos(math.pi * n / 16)) / 2 for n in range(16)]
    assert found[4:] == pytest.approx(expected, rel=1e-12)


def test_one_cycle_peaks_after_a_third() -> None:
    found = sizes(Recipe(lr=1.0), 100)
    assert found.index(max(found)) == 29
    assert found[-1] < 1e-4


def test_a_single_step_is_a_schedule_too() -> None:
    assert sizes(Recipe(schedule="cosine", lr=1.0), 1) == [1.0]
    assert len(sizes(Recipe(lr=1.0), 1)) == 1


def test_the_optimizer_is_the_one_asked_for() -> None:
    layer = nn.Linear(1, 1)
    sgd = Recipe(optimizer="sgd", momentum=0.8, weight_decay=0.1).optimizer_of(layer)
    assert isinstance(sgd, torch.optim.SGD)
    group = sgd.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.8, True, 0.1)
    assert isinstance(Recipe().optimizer_of(layer), torch.optim.AdamW)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"lr": math.nan}, {"shift": -1}]
)
def test_numbers_out_of_range_are_an_error(wrong: dict[str, Any]) -> None:
    key, value = next(iter(wrong.items()))
    with pytest.raises(ArgumentError, match=f"{key} {value}"):
        Recipe(**wrong)


@pytest.mark.parametrize("wrong", ["momentum", "warmup", "label_smoothing", "ema"])
def test_shares_are_less_than_one(wrong: str) -> None:
    with pytest.raises(ArgumentError, match=rf"{wrong} 1\.0.* less than 1"):
        Recipe(**{wrong: 1.0})


@pytest.mark.parametrize("wrong", ["optimizer", "schedule", "precision"])
def test_words_are_among_their_choices(wrong: str) -> None:
    with pytest.raises(ArgumentError, match="'best' is none of "):
        Recipe(**{wrong: "best"})

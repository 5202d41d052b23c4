# SPDX-License-Identifier: Apache-2.0
"""What a network learns from: examples, some of them held out, and the task they set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from convsmith.errors import ArgumentError
from convsmith.training.examples import Examples
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Task


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Two sets without an example in common: training never sees the second.

    `recipe` is what suits the data; `options` are what a network must be created with to fit it.
    """

    train: Examples
    held_out: Examples
    task: Task
    recipe: Recipe = field(default_factory=Recipe)
    options: dict[str, Any] = field(default_factory=dict)


def held_out_indices(count: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and indices held out, chosen by torch's CPU generator with this seed.

    Raises:
        ArgumentError: if one of the two would be empty.
    """
    if not 0 < held_out < count:
        raise ArgumentError(
            f"data: cannot hold out {held_out} of {count} examples; both parts need at least one"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[held_out:], order[:held_out]


def split(
    examples: Examples,
    *,
    held_out: int,
    seed: int,
    task: Task,
    recipe: Recipe | None = None,
    options: dict[str, Any] | None = None,
) -> TrainingData:
    """Hold out `held_out` examples, chosen by a seed. See `held_out_indices`."""
    train, kept = held_out_indices(len(examples), held_out, seed)
    return TrainingData(
        train=examples.part(train),
        held_out=examples.part(kept),
        task=task,
        recipe=recipe or Recipe(),
        options=options or {},
    )

# SPDX-License-Identifier: Apache-2.0
"""State: everything that changes while a network is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from convsmith.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training examples."""

    number: int  # from 1
    epochs: int
    loss: float  # mean loss of the examples as they were shown, while the weights move


@dataclass(kw_only=True)
class State:
    """A training between two steps: what a checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    draws: torch.Generator  # of the order of the examples and of their changes
    average: AveragedModel | None
    order: Tensor  # of the examples in the epoch that runs
    position: int = 0  # examples of it that were shown
    steps: int = 0
    total: float = 0.0  # losses of the epoch that runs, summed over the examples shown
    seconds: float = 0.0  # spent before this process began
    history: list[Epoch] = field(default_factory=list)

    @classmethod
    def begin(cls, model: nn.Module, recipe: Recipe, steps: int, draws: torch.Generator) -> State:
        """Before the first of `steps` steps."""
        optimizer = recipe.optimizer_of(model)
        device = next(model.parameters()).device
        average = None
        if recipe.ema:
            average = AveragedModel(model, multi_avg_fn=_averaging(recipe.ema), use_buffers=True)
        return cls(
            model=model,
            optimizer=optimizer,
            schedule=recipe.schedule_of(optimizer, steps),
            scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16"),
            draws=draws,
            average=average,
            order=torch.empty(0, dtype=torch.int64),
        )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def step(self, loss: Tensor) -> None:
        """Move the weights down the slope of a loss."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.steps += 1

    def keep_average(self) -> None:
        """Let the model end with the average of its weights, where one was kept."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())


def _averaging(ema: float) -> Callable[..., None]:
    def update(averages: Iterable[Tensor], tensors: Iterable[Tensor], count: Tensor) -> None:
        # Shorter at first: the weights and statistics of the first steps are far from any average.
        kept = min(ema, (1 + int(count)) / (10 + int(count)))
        for average, tensor in zip(averages, tensors, strict=True):
            if average.is_floating_point():
                average.lerp_(tensor, 1 - kept)
            else:
                average.copy_(tensor)  # a count of batches

    return update

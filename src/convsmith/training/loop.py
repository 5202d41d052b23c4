# SPDX-License-Identifier: Apache-2.0
"""The training loop: one seed for all, on one process or several, resumed where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.training.checkpoint import Checkpoints
from convsmith.training.data import TrainingData
from convsmith.training.distributed import World
from convsmith.training.draws import Draws
from convsmith.training.recipe import Recipe
from convsmith.training.state import Epoch, State


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change of the weights."""

    number: int  # from 1
    steps: int
    loss: float  # of this process's examples
    lr: float


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What came of a training: `measures` are the task's, on the examples held out."""

    history: tuple[Epoch, ...]
    measures: Mapping[str, float]
    seconds: float  # of learning, before an interruption too, and of measuring


def train(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> TrainingResult:
    """Train a model in place, where its weights are, and measure it on the examples held out. It is
    left in eval mode.

    The same seed, number of threads, machine and version of torch give the same weights, bit for
    bit, also when the training is stopped and started again with its checkpoints. The caller's
    random state is not touched. Processes that have joined (see `joined`) share every batch.

    Args:
        recipe: None takes the data's own.
        checkpoints: Where the training is written now and then, and continued from.
        on_epoch: Called after every epoch.
        on_step: Called after every step.

    A last batch of a single example is left out.

    Raises:
        ArgumentError: if the data does not fit what the model outputs, a batch leaves a batch-norm
            one value, or the checkpoint is of another training.
    """
    recipe = recipe or data.recipe
    world = World.current()
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed + world.rank)
        told = (on_epoch, on_step)
        state = _Loop(model, data, recipe, world, checkpoints, told).run()
    learnt = time.perf_counter()
    world.apart(model)
    state.keep_average()
    model.eval()
    measures = {}
    if world.rank == 0:
        measures = data.task.measure(model, data.held_out, recipe.batch_size)
    world.wait()
    seconds = state.seconds + time.perf_counter() - learnt
    return TrainingResult(history=tuple(state.history), measures=measures, seconds=seconds)


class _Loop:
    def __init__(
        self,
        model: nn.Module,
        data: TrainingData,
        recipe: Recipe,
        world: World,
        checkpoints: Checkpoints | None,
        told: tuple[Callable[[Epoch], None] | None, Callable[[Step], None] | None],
    ) -> None:
        self._data, self._recipe, self._world = data, recipe, world
        self._checkpoints = checkpoints
        # The first process speaks for all.
        self._on_epoch, self._on_step = told if world.rank == 0 else (None, None)
        self._start = time.perf_counter()
        whole, rest = divmod(len(data.train), recipe.batch_size)
        # Every process needs an example; and of a single one, batch-norm has no variance.
        self._least = max(world.size, min(2, recipe.batch_size) if whole else 1)
        self._steps = recipe.epochs * (whole + (rest >= self._least))
        # Dropout must not move the order of the examples away from that of the other processes.
        draws = torch.default_generator
        if world.size > 1:
            draws = torch.Generator().manual_seed(recipe.seed)
        self._state = State.begin(model, recipe, self._steps, draws)
        self._network = world.together(model)

    def run(self) -> State:
        state = self._state
        if self._checkpoints is not None and self._checkpoints.restore(state) and self._world.rank:
            torch.manual_seed(self._recipe.seed + self._world.rank + state.steps)
        before = state.seconds
        while len(state.history) < self._recipe.epochs:
            if not len(state.order):
                state.order = torch.randperm(len(self._data.train), generator=state.draws)
            self._network.train()
            while state.position < len(state.order):
                self._step()
                state.seconds = before + time.perf_counter() - self._start
                if self._checkpoints is not None and self._checkpoints.is_due():
                    self._write()
            self._close_epoch()
        return state

    def _step(self) -> None:
        state, task, recipe = self._state, self._data.task, self._recipe
        whole = state.order[state.position : state.position + recipe.batch_size]
        state.position += len(whole)
        if len(whole) < self._least:
            return
        share = whole[self._world.rank :: self._world.size]
        draws = Draws(
            images=len(whole),
            generator=state.draws,
            first=self._world.rank,
            every=self._world.size,
        )
        x, y = self._data.train.batch(share.tolist())
        x, y = task.augmented(x, y, recipe, draws)
        weights = next(state.model.parameters())
        lr = state.optimizer.param_groups[0]["lr"]
        with torch.autocast(weights.device.type, recipe.autocast, enabled=bool(recipe.autocast)):
            output = self._output(x.to(weights))
            loss = task.loss(output, y.to(weights.device), recipe)
        state.step(self._world.scaled(loss, task.weight(y)))
        state.total += loss.item() * len(share)
        if self._on_step is not None:
            self._on_step(Step(number=state.steps, steps=self._steps, loss=loss.item(), lr=lr))

    def _output(self, x: Tensor) -> Any:
        try:
            return self._network(x)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ArgumentError(
                f"train: a batch of {len(x)} leaves a batch-norm one value a channel, whose "
                f"variance is 0; it needs two: give more than batch_size {self._recipe.batch_size}"
                f", or larger images"
            ) from None

    def _close_epoch(self) -> None:
        state = self._state
        loss = self._world.total(state.total) / len(state.order)
        number = len(state.history) + 1
        epoch = Epoch(number=number, epochs=self._recipe.epochs, loss=loss)
        state.history.append(epoch)
        state.order, state.position, state.total = state.order[:0], 0, 0.0
        if self._checkpoints is not None:
            self._write()
        if self._on_epoch is not None:
            self._on_epoch(epoch)

    def _write(self) -> None:
        if self._checkpoints is not None and self._world.rank == 0:
            self._checkpoints.write(self._state)

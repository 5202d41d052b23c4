# SPDX-License-Identifier: Apache-2.0
"""Small classifiers beside each other: accuracy over seeds, parameters, MACs and measured time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import torch
from recording import Options, Panel, say, spread
from torch import nn

import convsmith as cs
from convsmith.models import Preprocess
from convsmith.training import Recipe, TrainingData, train, training_data

BATCH = 16  # images that are timed
COLUMNS = ("accuracy", "parameters", "MACs an image", "eager ms", "optimized ms")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What all learn from, and for how long."""

    name: str
    data: TrainingData
    recipe: Recipe
    seeds: int

    @classmethod
    def of(
        cls,
        name: str,
        data: TrainingData,
        given: Options,
        *,
        images: int,
        held_out: int,
        recipe: Recipe,
    ) -> Contest:
        """The first images of a data set, three seeds; a rehearsal has hardly any of it."""
        if given.quick:
            images, held_out, recipe = 100, 100, replace(recipe, epochs=1)
        part = replace(
            data,
            train=data.train.part(range(images)),
            held_out=data.held_out.part(range(held_out)),
        )
        return cls(name=name, data=part, recipe=recipe, seeds=1 if given.quick else 3)

    @property
    def words(self) -> str:
        """What stands above the table."""
        return (
            f"{self.name}: {len(self.data.train):,} images, {self.recipe.epochs} epochs, "
            f"{self.recipe.batch_size} images a step, three seeds; accuracy on "
            f"{len(self.data.held_out):,} held out, mean and spread. Time is of {BATCH} images on "
            f"one thread, eager and after `convsmith.optimize`, in turns."
        )

    def row(self, name: str, build: Callable[[], nn.Module]) -> tuple[dict[str, Any], nn.Module]:
        """Everything that is said of one network, and the last that was trained."""
        accuracies = []
        for seed in range(self.seeds):
            torch.manual_seed(seed)
            model = build()
            result = train(model, self.data, replace(self.recipe, seed=seed))
            accuracies.append(result.measures["held_out_accuracy"])
        say(f"{name}: {mean(accuracies):.3f}")
        x, _ = self.data.held_out.batch(range(BATCH))
        found = cs.optimize(model, x).report
        return {
            "name": name,
            "accuracies": accuracies,
            "parameters": sum(p.numel() for p in model.parameters()),
            "macs": cs.analyze(model, (1, *x.shape[1:])).total.macs.all,
            "eager_ms": [found.before.ms, *found.before.ms_quartiles],
            "optimized_ms": [found.after.ms, *found.after.ms_quartiles],
        }, model


def clothes(given: Options, *, size: int, images: int, recipe: Recipe) -> Contest:
    """A part of Fashion-MNIST, 2,000 images held out."""
    steps = Preprocess(colour="L", size=size, mean=(0.286,), std=(0.353,), scale=255.0)
    data = training_data("fashion_mnist", steps, root=given.data_root)
    name = f"Fashion-MNIST at {size} x {size} pixels"
    return Contest.of(name, data, given, images=images, held_out=2000, recipe=recipe)


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table: the name, then `COLUMNS`."""
    return [
        row["name"],
        spread(row["accuracies"], ".1%"),
        f"{row['parameters']:,}",
        f"{row['macs']:,}",
        f"{row['eager_ms'][0]:.2f}",
        f"{row['optimized_ms'][0]:.2f}",
    ]


def panels(rows: Sequence[dict[str, Any]], start: float) -> list[Panel]:
    """Accuracy and time as bars, those of accuracy from `start` on."""
    accuracies = [[100 * share for share in row["accuracies"]] for row in rows]
    return [
        Panel(
            title=f"% right (bars from {start:.0f})",
            spans=[(mean(found), min(found), max(found)) for found in accuracies],
            digits=1,
            start=start,
        ),
        Panel(title=f"ms for {BATCH}, optimized", spans=[r["optimized_ms"] for r in rows]),
        Panel(title=f"ms for {BATCH}, eager", spans=[r["eager_ms"] for r in rows]),
    ]

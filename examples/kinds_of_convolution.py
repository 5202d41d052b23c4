# SPDX-License-Identifier: Apache-2.0
"""One small classifier on Fashion-MNIST, its 3x3 layers of every kind: what each costs and reaches.

    python examples/kinds_of_convolution.py [--quick] [--data-root FOLDER]

The first layer and the last are alike in all; four layers in between are of the kind. Each kind is
trained with three seeds on the same 2,500 images and measured on the same 2,000. Time is of the
trained network on one thread, eager and after `convsmith.optimize`, measured in turns. About eight
minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import mean
from typing import Any

import torch
from recording import Options, Panel, bars, options, record, say
from torch import Tensor, nn

import convsmith as cs
from convsmith.models import Preprocess
from convsmith.training import Recipe, TrainingData, train, training_data

CHANNELS, SIZE, BATCH = 16, 28, 16
STEPS = Preprocess(colour="L", size=SIZE, mean=(0.286,), std=(0.353,), scale=255.0)
Layer = Callable[[], nn.Module]


def kinds(c: int = CHANNELS) -> dict[str, Layer]:
    """A layer from c to c channels that keeps the size, by the name of its kind."""
    return {
        "dense": lambda: cs.Conv2d(c, c, 3, padding=1),
        "grouped, 4 groups": lambda: cs.Conv2d(c, c, 3, padding=1, groups=4),
        "depthwise separable": lambda: cs.DepthwiseSeparableConv2d(c, c, 3, padding=1),
        "depthwise separable, multiplier 2": lambda: cs.DepthwiseSeparableConv2d(
            c, c, 3, padding=1, depth_multiplier=2
        ),
        "spatially separable": lambda: cs.SpatiallySeparableConv2d(c, c, 3, padding=1),
        "dilated by 2": lambda: cs.Conv2d(c, c, 3, padding=2, dilation=2),
        "involution": lambda: cs.Involution2d(c, 3, group_channels=8),
        "local self-attention": lambda: cs.LocalSelfAttention2d(c, 3, num_heads=4),
    }


class Classifier(nn.Module):
    """A dense stem, twice (pool, two layers of the kind), the mean over places, ten scores."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        parts: list[nn.Module] = [cs.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU()]
        for _ in range(2):
            parts.append(nn.MaxPool2d(2))
            for _ in range(2):
                parts += [layer(), nn.BatchNorm2d(CHANNELS), nn.ReLU()]
        self.features = nn.Sequential(*parts)
        self.scores = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 28, 28) to (n, 10)."""
        return self.scores(self.features(x).mean((2, 3)))


def trained(layer: Layer, data: TrainingData, recipe: Recipe) -> tuple[nn.Module, float]:
    """A trained network and the share of held-out images that it gets right."""
    torch.manual_seed(recipe.seed)
    model = Classifier(layer)
    return model, train(model, data, recipe).measures["held_out_accuracy"]


def row(name: str, layer: Layer, data: TrainingData, given: Options) -> dict[str, Any]:
    """Everything that is said of one kind."""
    seeds = range(1 if given.quick else 3)
    epochs = 1 if given.quick else 5
    runs = [trained(layer, data, Recipe(epochs=epochs, flip=True, seed=seed)) for seed in seeds]
    model = runs[0][0]
    found = cs.optimize(model, torch.randn(BATCH, 1, SIZE, SIZE)).report
    say(f"{name}: {mean(accuracy for _, accuracy in runs):.3f}")
    return {
        "kind": name,
        "accuracies": [accuracy for _, accuracy in runs],
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": cs.analyze(model, (1, 1, SIZE, SIZE)).total.macs.all,
        "eager_ms": [found.before.ms, *found.before.ms_quartiles],
        "optimized_ms": [found.after.ms, *found.after.ms_quartiles],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    accuracies = row["accuracies"]
    return [
        row["kind"],
        f"{mean(accuracies):.1%} ({min(accuracies):.1%} to {max(accuracies):.1%})",
        f"{row['parameters']:,}",
        f"{row['macs']:,}",
        f"{row['eager_ms'][0]:.2f}",
        f"{row['optimized_ms'][0]:.2f}",
    ]


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    data = training_data("fashion_mnist", STEPS, root=given.data_root)
    images, held_out, epochs = (100, 100, 1) if given.quick else (2500, 2000, 5)
    part = replace(
        data,
        train=data.train.part(range(images)),
        held_out=data.held_out.part(range(held_out)),
    )
    rows = [row(name, layer, part, given) for name, layer in kinds().items()]
    accuracies = [[100 * share for share in row["accuracies"]] for row in rows]
    panels = [
        Panel(
            title="right of 100 held out (the bars begin at 30)",
            spans=[(mean(found), min(found), max(found)) for found in accuracies],
            digits=1,
            start=30,
        ),
        Panel(title=f"ms for {BATCH} images, optimized", spans=[r["optimized_ms"] for r in rows]),
    ]
    record(
        "kinds_of_convolution",
        given,
        title="The same classifier with its 3x3 layers of every kind",
        words=f"Fashion-MNIST, {images:,} images, {epochs} epochs, three seeds; accuracy on the "
        f"{held_out:,} held out, mean and spread. Time is of {BATCH} images, "
        "eager and optimized, in turns.",
        columns=["kind", "accuracy", "parameters", "MACs an image", "eager ms", "optimized ms"],
        rows=[cells(row) for row in rows],
        data={"images": images, "epochs": epochs, "batch": BATCH, "rows": rows},
        picture=bars([row["kind"] for row in rows], panels),
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""RedNet against a ResNet of equal depth on CIFAR images, and the kernels that involution makes.

    python examples/rednet.py [--quick] [--data-root FOLDER]

Both have 26 layers and a quarter of the published channels, and learn from the same 1,500 images of
CIFAR-10, enlarged to 48 pixels so that the last maps have more than one place, with three seeds.
About ten minutes on two cores.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from comparing import COLUMNS, Contest, cells
from recording import options, record, tiles
from torch import Tensor, nn

from convsmith.convs import Involution2d
from convsmith.models import Model, create, find
from convsmith.training import Recipe, training_data
from convsmith.training.examples import Examples

SIZE, WIDTH, SHOWN = 48, 0.25, 6
BLOCKS = (1, 2, 4, 1)  # of both, stage by stage
RECIPE = Recipe(epochs=10, batch_size=16, flip=True)
PLACES = 5  # kernels of a picture, along each side


def resnet() -> Model:
    """26 layers with 3x3 convolutions."""
    return create("resnet50", num_classes=10, width=WIDTH, blocks=BLOCKS)


def rednet() -> Model:
    """26 layers with 7x7 involutions."""
    return create("rednet26", num_classes=10, width=WIDTH)


def kernels(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The kernels that each involution makes of the images: (n, groups, taps, h, w)."""
    found = []

    def keep(layer: nn.Module, _: Any, made: Tensor) -> None:
        found.append(made)

    layers = [layer for layer in model.modules() if isinstance(layer, Involution2d)]
    hooks = [layer.generator.register_forward_hook(keep) for layer in layers]
    with torch.inference_mode():
        model(x)
    for hook in hooks:
        hook.remove()
    taps = [layer.kernel_size[0] * layer.kernel_size[1] for layer in layers]
    return [made.unflatten(1, (-1, t)) for made, t in zip(found, taps, strict=True)]


def strength(made: Tensor) -> np.ndarray:
    """How much each place's kernel weighs in all, dark for little: (h, w, 3)."""
    return _grey(made.abs().sum(1).mean(0))


def mosaic(made: Tensor) -> np.ndarray:
    """The first group's kernels at places that lie evenly over the map, with lines between."""
    side = round(made.shape[1] ** 0.5)
    at = np.linspace(0, made.shape[2] - 1, PLACES).round().astype(int)
    picture = np.full((PLACES * (side + 1) - 1,) * 2 + (3,), 255, np.uint8)
    for row, i in enumerate(at):
        for column, j in enumerate(at):
            top, left = row * (side + 1), column * (side + 1)
            kernel = made[0, :, i, j].unflatten(0, (side, side))
            picture[top : top + side, left : left + side] = _grey(kernel)
    return picture


def _grey(values: Tensor) -> np.ndarray:
    values = values - values.min()
    levels = (values / values.max().clamp(min=1e-12) * 255).byte().numpy()
    return levels[..., None].repeat(3, 2)


def picture(model: nn.Module, contest: Contest) -> str:
    """Images, and of each what the involutions of the stem and of the first block make of it."""
    held_out: Any = contest.data.held_out
    x, _ = held_out.batch(range(0, len(held_out), len(held_out) // SHOWN)[:SHOWN])
    stem, first = kernels(model, x)[:2]
    steps = held_out.preprocess
    mean, std = (torch.tensor(three).view(3, 1, 1) for three in (steps.mean, steps.std))
    shown = [((image * std + mean) * steps.scale).clamp(0, 255).byte() for image in x]
    rows = [
        [image.permute(1, 2, 0).numpy() for image in shown],
        [strength(made) for made in stem],
        [strength(made) for made in first],
        [mosaic(made) for made in first],
    ]
    return tiles(rows, ["image", "stem 3x3", "block 7x7", "kernels"], [""] * SHOWN)


def _mixed(examples: Examples) -> Examples:
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))
    return examples.part(order.tolist())


def main() -> None:
    """Train, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    steps = replace(find("resnet20").preprocess, size=SIZE)
    data = training_data("cifar10", steps, root=given.data_root)
    # The files are in the order of their classes.
    data = replace(data, train=_mixed(data.train), held_out=_mixed(data.held_out))
    name = f"CIFAR-10 at {SIZE} x {SIZE} pixels"
    contest = Contest.of(name, data, given, images=1500, held_out=1000, recipe=RECIPE)
    (first, _), (second, model) = (
        contest.row(name, make) for name, make in (("ResNet-26", resnet), ("RedNet-26", rednet))
    )
    record(
        "rednet",
        given,
        title="RedNet against ResNet",
        words=f"{contest.words} The picture: images that were held out; how much the kernel weighs "
        "that the involution of the stem, and that of the first block, makes for each place; and "
        "kernels of the latter, at 25 places.",
        columns=["network", *COLUMNS],
        rows=[cells(row) for row in (first, second)],
        data=[first, second],
        picture=picture(model, contest),
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A training for torchrun: NETWORK FILE; its first process writes the state to the file."""

import sys

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from convsmith import models
from convsmith.training import ImageSet, Recipe, joined, split, train
from convsmith.training.distributed import World
from convsmith.training.tasks import Classification


def trained(network: str) -> dict[str, Tensor]:
    """The float64 state of a network after six steps on batches of 16, 16 and 9 images."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = ImageSet(
        images=rng.integers(0, 256, (51, 28, 28), np.uint8),
        classes=np.arange(51) % 10,
        preprocess=models.find(network).preprocess,
    )
    data = split(images, held_out=10, seed=0, task=Classification())
    torch.manual_seed(1)
    model = models.create(network, dtype=torch.float64)
    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.01, flip=True)
    train(model, data, recipe)
    return model.state_dict()


if __name__ == "__main__":
    with joined("cpu"):
        weights = trained(sys.argv[1])
        if World.current().rank == 0:
            save_file(weights, sys.argv[2])

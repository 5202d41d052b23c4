# SPDX-License-Identifier: Apache-2.0
"""Training a published network by its name, from first weights to saved ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from convsmith.models import Model, Preprocess, create, save_weights
from convsmith.training import digits
from convsmith.training.images import load_images
from convsmith.training.loop import Epoch, TrainingResult, train
from convsmith.training.split import TrainingData, split

_HELD_OUT_FRACTION = 0.2


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained model, what came of its training, and how it was trained."""

    model: Model
    result: TrainingResult
    settings: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write `path` (.safetensors) and a .json beside it; neither is overwritten."""
        save_weights(
            self.model,
            Path(path),
            training=self.settings,
            held_out_accuracy=round(self.result.held_out_accuracy, 4),
        )


def training_data(source: str | Path, preprocess: Preprocess, *, seed: int = 0) -> TrainingData:
    """The data set "digits", or images that `load_images` reads, a fifth of them held out."""
    if str(source) == "digits":
        return digits.load(preprocess)
    images = load_images(source, preprocess)
    return split(images, held_out=max(1, round(len(images) * _HELD_OUT_FRACTION)), seed=seed)


def train_network(
    name: str,
    data: str | Path = "digits",
    *,
    epochs: int = 20,
    batch_size: int = 64,
    lr: float = 4e-3,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[Epoch], None] | None = None,
    **options: Any,
) -> TrainedNetwork:
    """Create a network with first weights drawn from the seed, and train it. See `train`.

    Args:
        data: "digits", or a folder or .npz that `load_images` reads.
        threads: More are faster for large networks; another number sums in another order, so that
            the weights differ in their last bits at first, and more as training goes on.
        options: What `create` takes: num_classes, in_channels, width, ...
    """
    with torch.random.fork_rng([]), _threads(threads):
        torch.manual_seed(seed)
        model = create(name, **options)
        images = training_data(data, model.preprocess, seed=seed)
        result = train(
            model, images, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, progress=progress
        )
    settings = {
        "data": Path(data).name,
        "images": len(images.train),
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "threads": threads,
        "torch": torch.__version__,
    }
    return TrainedNetwork(model=model, result=result, settings=settings)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

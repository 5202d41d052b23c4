# SPDX-License-Identifier: Apache-2.0
"""The training loop: AdamW under a one-cycle schedule, images shifted a little, one seed for all.

Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, arXiv:1711.05101; Smith
and Topin, Super-Convergence, 2018, arXiv:1708.07120.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.errors import ArgumentError
from convsmith.training.accuracy import accuracy
from convsmith.training.images import ImageSet
from convsmith.training.split import TrainingData


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images."""

    number: int  # from 1
    epochs: int
    loss: float  # mean cross-entropy of the shifted images, while the weights move


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What came of a training."""

    history: tuple[Epoch, ...]
    held_out_accuracy: float
    seconds: float


def train(
    model: nn.Module,
    data: TrainingData,
    *,
    epochs: int = 20,
    batch_size: int = 64,
    lr: float = 4e-3,
    seed: int = 0,
    shift: int = 2,
    progress: Callable[[Epoch], None] | None = None,
) -> TrainingResult:
    """Train a classifier in place, and measure it on the images held out. It is left in eval mode.

    The same seed, number of threads, machine and version of torch give the same weights, bit for
    bit. The caller's random state is not touched.

    Args:
        lr: The largest step; the schedule rises to it over the first third and falls to 0.
        shift: Each image is moved by up to this many pixels each way, every time it is shown.
        progress: Called after every epoch.

    Raises:
        ArgumentError: if epochs, batch_size or lr is not positive, or the data has a class for
            which the model has no output.
    """
    if epochs < 1 or batch_size < 1 or lr <= 0 or shift < 0:
        raise ArgumentError(
            f"train: epochs {epochs}, batch_size {batch_size} and lr {lr} are positive, shift "
            f"{shift} is not negative"
        )
    start = time.perf_counter()
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        history = tuple(_epochs(model, data.train, epochs, batch_size, lr, shift, progress))
    model.eval()
    return TrainingResult(
        history=history,
        held_out_accuracy=accuracy(model, data.held_out).top1_fraction,
        seconds=time.perf_counter() - start,
    )


def _epochs(
    model: nn.Module,
    images: ImageSet,
    epochs: int,
    batch_size: int,
    lr: float,
    shift: int,
    progress: Callable[[Epoch], None] | None,
) -> Iterator[Epoch]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    steps = epochs * -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 2))
    device = next(model.parameters()).device
    for number in range(1, epochs + 1):
        model.train()
        total = 0.0
        for indices in torch.randperm(len(images)).split(batch_size):
            x, y = images.batch(indices.tolist())
            scores = model(shifted(x, shift).to(device))
            _require_outputs(scores, y)
            loss = F.cross_entropy(scores, y.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(indices)
        epoch = Epoch(number=number, epochs=epochs, loss=total / len(images))
        if progress is not None:
            progress(epoch)
        yield epoch


def shifted(x: Tensor, amount: int) -> Tensor:
    """Every image moved by a random number of pixels, -amount to amount along each axis; the edge
    is repeated.

    >>> shifted(torch.ones(2, 1, 4, 4), 1).shape
    torch.Size([2, 1, 4, 4])
    """
    n, _, h, w = x.shape
    padded = F.pad(x, (amount,) * 4, mode="replicate")
    first = torch.randint(0, 2 * amount + 1, (2, n, 1))
    rows, columns = first[0] + torch.arange(h), first[1] + torch.arange(w)
    images = torch.arange(n)[:, None, None]
    return padded[images, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _require_outputs(scores: Tensor, y: Tensor) -> None:
    outputs, largest = scores.shape[1], int(y.max())
    if largest >= outputs:
        raise ArgumentError(
            f"train: the data has class {largest}, the model outputs 0 to {outputs - 1}; create it "
            f"with num_classes={largest + 1}"
        )

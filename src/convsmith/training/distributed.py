# SPDX-License-Identifier: Apache-2.0
"""The processes that share a training; torchrun starts them, and each runs the same program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from convsmith.errors import ArgumentError
from convsmith.training.shared_norm import forget_sharing, share_moments


@dataclass(frozen=True)
class World:
    """How many processes train together, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The processes that have joined; one, where none have."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def together(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over all processes when there are several, and its
        batch-norms made to see the images of all.
        """
        if self.size == 1:
            return model
        share_moments(model)
        return DistributedDataParallel(model, broadcast_buffers=False)

    def apart(self, model: nn.Module) -> None:
        """The model as it was before `together`, but for what it learnt."""
        if self.size > 1:
            forget_sharing(model)

    def total(self, number: float) -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return number
        summed = torch.tensor(number, dtype=torch.float64, device=_device_of_group())
        dist.all_reduce(summed)
        return float(summed)

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()

    def scaled(self, loss: Tensor, weight: float) -> Tensor:
        """A loss that makes the average of gradients the gradient of the whole batch's mean.

        The mean over a batch is the sum over processes of mean · weight / total weight; averaging
        divides by the number of processes, which this takes back.
        """
        return loss if self.size == 1 else loss * (weight * self.size / self.total(weight))


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did, and say where to compute.

    Raises:
        ArgumentError: if the device is unknown or not here.
    """
    chosen = _device(device)
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield chosen
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device("cpu")
    if name == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    raise ArgumentError(
        f"train: cannot train on device {name!r} here; give cpu, or cuda where torch finds one"
    )


def _device_of_group() -> torch.device:
    cuda = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")

# SPDX-License-Identifier: Apache-2.0
"""Images to train on and images held out, chosen by a seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from convsmith.errors import ArgumentError
from convsmith.training.images import ImageSet


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Two sets without an image in common: training never sees the second."""

    train: ImageSet
    held_out: ImageSet


def split(images: ImageSet, *, held_out: int, seed: int) -> TrainingData:
    """Hold out `held_out` images, chosen by torch's CPU generator with this seed.

    Raises:
        ArgumentError: if one of the two sets would be empty.
    """
    if not 0 < held_out < len(images):
        raise ArgumentError(
            f"split: cannot hold out {held_out} of {len(images)} images; both parts need at least "
            f"one"
        )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
    return TrainingData(train=images.part(order[held_out:]), held_out=images.part(order[:held_out]))

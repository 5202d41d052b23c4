# SPDX-License-Identifier: Apache-2.0
"""Run two networks over the same images and say how far apart and how right they are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from convsmith.capture import Captured, Tier
from convsmith.errors import ArgumentError
from convsmith.rewrite.inputs import Inputs, random_like
from convsmith.rewrite.verify import Difference, compare

_NUM_PROOF_IMAGES = 2


@dataclass(frozen=True)
class Images:
    """Images as the model takes them, (N, C, ...), with or without each one's class number."""

    x: Tensor
    labels: Tensor | None
    device: torch.device

    def first(self, num_images: int) -> Inputs:
        """Return the first images, from the start again if there are too few."""
        return Inputs((self.x[torch.arange(num_images) % len(self.x)].to(self.device),))


@dataclass
class Score:
    """How many images had their class put first, and among the first five."""

    top1: int = 0
    top5: int = 0

    def count(self, output: Any, labels: Tensor) -> None:
        """Count one batch; `output` holds a score per class, (N, K) or (N, K, 1, 1)."""
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        if not isinstance(shape, tuple) or len(shape) < 2 or output[0].numel() != shape[1]:
            raise ArgumentError(
                f"optimize: labels were given, but the model's output is {shape}, not one score "
                f"per class (N, K); leave the labels out."
            )
        scores = output.flatten(1)
        best = scores.topk(min(5, scores.shape[1]), dim=1).indices
        hits = best == labels.to(best.device).view(-1, 1)
        self.top1 += int(hits[:, 0].sum())
        self.top5 += int(hits.sum())


@dataclass
class Comparison:
    """Two networks on the same inputs."""

    difference: Difference = field(default_factory=Difference)
    before: Score = field(default_factory=Score)
    after: Score = field(default_factory=Score)


def as_images(images: Any, captured: Captured) -> Images | None:
    """Take what the caller gave: None, a tensor of images, or a pair of images and labels.

    Raises:
        ArgumentError: if it is something else, empty, or does not fit the model or its labels.
    """
    if images is None:
        return None
    x, labels = images if isinstance(images, tuple | list) and len(images) == 2 else (images, None)
    if not isinstance(x, Tensor) or x.dim() < 2 or not len(x):
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ArgumentError(
            f"optimize: images are {got}; they must be a tensor (N, C, ...) with N >= 1, "
            f"or a pair of that and labels."
        )
    _check_fit(x, captured)
    device = captured.example[0].device
    if labels is None:
        return Images(x, None, device)
    labels = torch.as_tensor(labels)
    if labels.shape != x.shape[:1] or labels.is_floating_point():
        raise ArgumentError(
            f"optimize: labels are {labels.dtype} of shape {tuple(labels.shape)}; they must be "
            f"whole numbers, one for each of the {len(x)} images."
        )
    return Images(x, labels, device)


def _check_fit(x: Tensor, captured: Captured) -> None:
    inputs = captured.contract.inputs
    if len(inputs) != 1 or captured.kwargs:
        raise ArgumentError(
            f"optimize: images were given, but the model takes {len(inputs)} inputs "
            f"({captured.contract.describe()}); without images, random inputs are used."
        )
    if x.dim() != len(inputs[0].sizes):
        raise ArgumentError(
            f"optimize: images are {tuple(x.shape)}, the example {inputs[0].sizes}; give images "
            f"of the example's rank."
        )
    if x.dtype != inputs[0].dtype:
        raise ArgumentError(
            f"optimize: images are {x.dtype}, the example {inputs[0].dtype}; give images as the "
            f"model takes them, scaled and normalised."
        )
    if not has_free_batch(captured) and len(x) % inputs[0].sizes[0]:
        raise ArgumentError(
            f"optimize: {len(x)} images do not divide into the model's fixed batch of "
            f"{inputs[0].sizes[0]}."
        )


def has_free_batch(captured: Captured) -> bool:
    """Tell whether a network takes any number of images at once."""
    return captured.dynamic in (Tier.BATCH, Tier.BATCH_AND_SPACE)


def proof_inputs(captured: Captured, images: Images | None, seed: int) -> Inputs:
    """Return the few inputs on which every rewrite is proved."""
    example = Inputs(captured.example, captured.kwargs)
    if images is None:
        return random_like(example, seed)
    batch = captured.example[0].shape[0]
    return images.first(_NUM_PROOF_IMAGES if has_free_batch(captured) else batch)


def timed_inputs(example: Inputs, images: Images | None, seed: int) -> Inputs:
    """Return inputs of the example's own batch."""
    if images is None:
        return random_like(example, seed)
    return images.first(example.args[0].shape[0])


def evaluate(
    before: Callable[..., Any], after: Callable[..., Any], images: Images, *, batch_size: int
) -> Comparison:
    """Run both networks over all images; memory holds one batch of outputs at a time."""
    found = Comparison()
    with torch.no_grad():
        for start in range(0, len(images.x), batch_size):
            x = images.x[start : start + batch_size].to(images.device)
            old, new = before(x), after(x)
            found.difference |= compare(old, new)
            if images.labels is not None:
                labels = images.labels[start : start + batch_size]
                found.before.count(old, labels)
                found.after.count(new, labels)
    return found


def compare_once(
    before: Callable[..., Any], after: Callable[..., Any], inputs: Inputs
) -> Comparison:
    """Run both networks on one set of inputs."""
    with torch.no_grad():
        old = before(*inputs.args, **inputs.kwargs)
        return Comparison(compare(old, after(*inputs.args, **inputs.kwargs)))

# SPDX-License-Identifier: Apache-2.0
"""Network: the entry of one published network; Model: what its constructor returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from convsmith.models.preprocess import Preprocess

# What a network gives for n images (or clips), and how many of its outputs `num_classes` sets:
# classification     (n, num_classes): raw scores
# segmentation       (n, num_classes, h, w): raw scores of every pixel
# detection          (n, boxes, num_classes) and (n, boxes, 4): raw scores, and offsets of anchors
# super-resolution   (n, c, scale h, scale w): the larger image
# pulse              (n, frames - 1): how the pulse changes from frame to frame
Task = Literal["classification", "segmentation", "detection", "super-resolution", "pulse"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `create` needs to build a model again: `create(recipe.network, **recipe.options)`."""

    network: str
    options: Mapping[str, Any]


class Model(nn.Module):
    """A network that knows how its images are prepared and how it was built; `create` sets both."""

    preprocess: Preprocess
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """What a file holds: tensors by the model's names, and what it tells about the model."""

    tensors: Mapping[str, Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Preprocess | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """One published network.

    `build` takes num_classes, in_channels and width, and the network's own options, all by name;
    num_classes is None where there are no classes. `frames` is the length of a clip for networks of
    video, `read_npz` how published weights of this network are read from an `.npz`.
    """

    name: str
    build: Callable[..., Model]
    num_classes: int | None
    preprocess: Preprocess
    source: str
    description: str
    task: Task = "classification"
    frames: int | None = None
    read_npz: Callable[[Path, Network], StoredWeights] | None = None
    embedded: bool = False  # trained weights are in the package

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image; (channels, frames, height, width) of a clip."""
        return self.shape_of(self.preprocess)

    def shape_of(self, preprocess: Preprocess) -> tuple[int, ...]:
        """`input_shape` for images that are prepared in another way."""
        clip = () if self.frames is None else (self.frames,)
        return (preprocess.channels, *clip, preprocess.size, preprocess.size)

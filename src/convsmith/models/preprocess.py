# SPDX-License-Identifier: Apache-2.0
"""Preprocess: how an image becomes a network's input. It belongs to the weights and travels with
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convsmith.errors import ArgumentError, FormatError

_CHANNELS = {"L": 1, "RGB": 3}
_LARGEST = 2**14  # pixels a side: more is a damaged file, not a network's input
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The steps from an image to a tensor, in this order: colour, central crop, resize, normalise.

    value = (pixel / scale - mean) / std, with pixels 0 to 255

    `crop` is the side of the central square kept, as a fraction of the image's shorter side; None
    keeps the whole image (it is squashed to a square). `label_offset` is added to a class number to
    give the index of its output: 1 where output 0 stands for "none of them".

    Raises:
        ArgumentError: if a field is outside its choices, or mean and std do not fit the colour.

    >>> grey = Preprocess(colour="L", size=4, mean=(0.5,), std=(0.5,), scale=255.0)
    >>> grey(np.full((8, 8), 255, np.uint8)).shape
    torch.Size([1, 4, 4])
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    colour: Literal["L", "RGB"] = "RGB"
    crop: float | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    label_offset: int = 0

    def __post_init__(self) -> None:
        if self.colour not in _CHANNELS or self.interpolation not in _RESAMPLING:
            raise ArgumentError(
                f"Preprocess: colour is {self.colour!r} and interpolation {self.interpolation!r}; "
                f"choose from {sorted(_CHANNELS)} and {sorted(_RESAMPLING)}"
            )
        if not len(self.mean) == len(self.std) == self.channels:
            raise ArgumentError(
                f"Preprocess: mean {self.mean} and std {self.std} need one number for each of the "
                f"{self.channels} channels of {self.colour}"
            )
        numbers = (*self.mean, *self.std, self.scale)
        if not all(map(isfinite, numbers)) or 0 in (self.scale, *self.std):
            raise ArgumentError(
                f"Preprocess: mean {self.mean}, std {self.std} and scale {self.scale} are finite, "
                f"and the last two are not 0"
            )
        if not 1 <= self.size <= _LARGEST or (self.crop is not None and not 0 < self.crop <= 1):
            raise ArgumentError(
                f"Preprocess: size {self.size} is 1 to {_LARGEST} and crop {self.crop} in (0, 1]"
            )

    @property
    def channels(self) -> int:
        """How many channels the tensor has."""
        return _CHANNELS[self.colour]

    def __call__(self, image: Image.Image | np.ndarray) -> Tensor:
        """The float32 tensor (channels, size, size) of one image: Pillow's, or uint8 of shape
        (h, w), (h, w, 1) or (h, w, 3).

        Raises:
            ArgumentError: if an array is not such an image.
        """
        if isinstance(image, np.ndarray):
            image = _pillow(image)
        image = image.convert(self.colour)
        box = (0.0, 0.0, float(image.width), float(image.height))
        if self.crop is not None:
            side = self.crop * min(image.size)
            left, top = (image.width - side) / 2, (image.height - side) / 2
            box = (left, top, left + side, top + side)
        image = image.resize((self.size, self.size), _RESAMPLING[self.interpolation], box=box)
        return self._normalised(image)

    def at_own_size(self, image: Image.Image | np.ndarray) -> Tensor:
        """The float32 tensor (channels, h, w) of an image that is neither cropped nor resized.

        Raises:
            ArgumentError: if an array is not such an image.
        """
        if isinstance(image, np.ndarray):
            image = _pillow(image)
        return self._normalised(image.convert(self.colour))

    def _normalised(self, image: Image.Image) -> Tensor:
        shape = (image.height, image.width, self.channels)
        pixels = np.asarray(image, dtype=np.float32).reshape(shape)
        mean, std = (np.array(numbers, dtype=np.float32) for numbers in (self.mean, self.std))
        values = (pixels / np.float32(self.scale) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def for_channels(self, channels: int) -> Preprocess:
        """The same steps for a network that reads 1 (grey) or 3 (RGB) channels; for another number
        there is no image, and the steps stay what they are.
        """
        if channels == self.channels or channels not in _CHANNELS.values():
            return self
        if channels == 1:
            mean, std = sum(self.mean) / self.channels, sum(self.std) / self.channels
            return replace(self, colour="L", mean=(mean,), std=(std,))
        return replace(self, colour="RGB", mean=self.mean * 3, std=self.std * 3)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """What `to_json` wrote.

        Raises:
            FormatError: if a field is missing, unknown or of another kind.
        """
        known = {field.name for field in fields(cls)}
        try:
            if set(data) != known:
                raise ArgumentError(f"its fields are {sorted(data)}, not {sorted(known)}")
            return cls(
                size=int(data["size"]),
                mean=tuple(map(float, data["mean"])),
                std=tuple(map(float, data["std"])),
                scale=float(data["scale"]),
                colour=data["colour"],
                crop=None if data["crop"] is None else float(data["crop"]),
                interpolation=data["interpolation"],
                label_offset=int(data["label_offset"]),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"Preprocess: what was stored is damaged: {error}") from None


# The central seven eighths at 224 pixels, by the mean and spread of ImageNet's colours.
IMAGENET = Preprocess(
    size=224, crop=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=255.0
)
# Whole images of 32 pixels, by the same mean and spread.
CIFAR = replace(IMAGENET, size=32, crop=None)


def _pillow(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    ):
        raise ArgumentError(
            f"Preprocess: an array of shape {pixels.shape} and type {pixels.dtype} is no image; "
            f"give uint8 of shape (h, w), (h, w, 1) or (h, w, 3)"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))

# SPDX-License-Identifier: Apache-2.0
"""FSRCNN: works on the small image and enlarges at the very end, in either of two forms.

    Y ─ 5x5 to 56 ─ 1x1 to 12 ─ 3x3 four times ─ 1x1 to 56 ─┬─ 9x9 transposed, stride s ────────── Y
        (a PReLU behind each)                               └─ 1x1 to s² channels ─ pixels shuffled

It shows what enlarging last is worth: its first form, SRCNN, computed on an image that had been
enlarged before, s² times the pixels. The two forms show that a transposed convolution of stride s
is s² convolutions whose outputs are interleaved: here 81 weights a channel against s².

Source: Dong et al., Accelerating the Super-Resolution Convolutional Neural Network, 2016,
arXiv:1608.00367, FSRCNN(56, 12, 4): 12,464 weights, biases and slopes not counted. Sub-pixel form:
Shi et al., Real-Time Single Image and Video Super-Resolution, 2016, arXiv:1609.05158.
"""

from collections.abc import Mapping
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.convs import Conv2d, ConvTranspose2d, PointwiseConv2d
from convsmith.models.archive import arrays_of
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network, StoredWeights
from convsmith.models.preprocess import Preprocess

_WIDE, _NARROW, _MAPPINGS = 56, 12, 4  # d, s and m of the paper


class FSRCNN(Model):
    """An image `scale` times as large; the paper reads luminance alone, of range 0 to 1.

    >>> FSRCNN(scale=3)(torch.zeros(1, 1, 10, 12)).shape
    torch.Size([1, 1, 30, 36])
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        width: float = 1.0,
        scale: int = 2,
        form: Literal["transposed", "subpixel"] = "transposed",
    ) -> None:
        super().__init__()
        wide, narrow = max(1, int(_WIDE * width)), max(1, int(_NARROW * width))
        layers: list[nn.Module] = [
            Conv2d(in_channels, wide, 5, padding=2),
            PointwiseConv2d(wide, narrow),
            *(Conv2d(narrow, narrow, 3, padding=1) for _ in range(_MAPPINGS)),
            PointwiseConv2d(narrow, wide),
        ]
        widths = (wide, *[narrow] * (1 + _MAPPINGS), wide)
        self.features = nn.Sequential()
        for layer, channels in zip(layers, widths, strict=True):
            self.features.append(layer)
            self.features.append(nn.PReLU(channels))
        he_initialized(self.features)
        self.enlarge = _transposed(wide, in_channels, scale)
        if form == "subpixel":
            mixing = PointwiseConv2d(wide, in_channels * scale**2)
            self.enlarge = nn.Sequential(mixing, nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, scale h, scale w)."""
        return self.enlarge(self.features(x))


def _transposed(channels: int, out_channels: int, scale: int) -> nn.Module:
    layer = ConvTranspose2d(
        channels, out_channels, 9, stride=scale, padding=4, output_padding=scale - 1
    )
    nn.init.normal_(layer.weight, std=0.001)  # section 3.4 of the paper
    return layer


def _read_subpixel(path: Path, network: Network) -> StoredWeights:
    """Weights f1 to f8 as (h, w, i, o), biases b1 to b8 and slopes alpha1 to alpha7.

    Raises:
        FormatError: if the file is damaged.
    """
    with arrays_of(path) as arrays:
        tensors: dict[str, Tensor] = {}
        for layer in range(1, _MAPPINGS + 4):
            conv, slopes = f"features.{2 * layer - 2}", f"features.{2 * layer - 1}"
            tensors |= _convolution(arrays, layer, conv)
            tensors[f"{slopes}.weight"] = torch.from_numpy(arrays[f"alpha{layer}"])
        tensors |= _convolution(arrays, _MAPPINGS + 4, "enlarge.0")
        shuffled = len(tensors["enlarge.0.weight"])
        # One bias for the enlarged image: the same for each of the pixels that are shuffled.
        tensors["enlarge.0.bias"] = tensors["enlarge.0.bias"].repeat(shuffled)
    options: dict[str, Any] = {"scale": isqrt(shuffled)}
    return StoredWeights(tensors=tensors, options=options, preprocess=network.preprocess)


def _convolution(arrays: Mapping[str, np.ndarray], number: int, name: str) -> dict[str, Tensor]:
    weight = np.ascontiguousarray(arrays[f"f{number}"].transpose(3, 2, 0, 1))
    bias = arrays[f"b{number}"]
    return {f"{name}.weight": torch.from_numpy(weight), f"{name}.bias": torch.from_numpy(bias)}


_entry = partial(
    Network,
    num_classes=None,
    task="super-resolution",
    preprocess=Preprocess(colour="L", size=128, mean=(0.0,), std=(1.0,), scale=255.0),
)

FSRCNN_TRANSPOSED = _entry(
    name="fsrcnn",
    build=FSRCNN,
    source="Dong et al. 2016, arXiv:1608.00367",
    description="Enlarges an image, by a transposed convolution at the very end",
)

FSRCNN_SUBPIXEL = _entry(
    name="fsrcnn_subpixel",
    build=partial(FSRCNN, form="subpixel"),
    source="Dong et al. 2016, arXiv:1608.00367; Shi et al. 2016, arXiv:1609.05158",
    description="Enlarges an image, by interleaving what a pointwise convolution gives",
    read_npz=_read_subpixel,
)

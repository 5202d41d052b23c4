# SPDX-License-Identifier: Apache-2.0
"""Kernels, mixing weights and feature maps as small pictures: arrays of bytes, nothing drawn yet.

Sizes are bounded, so that a page of a deep network stays a few megabytes: a tile for each of the
first channels, large maps by the mean of blocks, large mixing matrices by the strongest of a block.
"""

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from convsmith.report import Picture

_TILES, _TILE_SIDE = 16, 40  # feature maps: how many, and how large
_FILTERS, _INPUTS = 48, 8  # kernels: of how many outputs, and of how many inputs each
_MATRIX = 96  # rows and columns of a mixing matrix
_GAP = 222  # grey: white is a weight of 0


def feature_maps(value: Tensor) -> Picture | None:
    """The first channels of a map (channels, height, width), each from its least to its greatest.

    Of a volume the middle slice, of a sequence one row.
    """
    cut = _cut(value.shape[1:])
    while value.dim() > 3:
        value = value[:, value.shape[1] // 2]
    if value.dim() == 2:
        value = value[:, None]
    if value.dim() != 3 or not value.numel() or not value.is_floating_point():
        return None
    shown = value[:_TILES].float().cpu()
    height, width = shown.shape[1:]
    shrink = min(1.0, _TILE_SIDE / max(height, width))
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    if shrink < 1:
        shown = F.adaptive_avg_pool2d(shown, size)
    shown = torch.nan_to_num(shown, posinf=0, neginf=0)
    low, high = shown.amin((1, 2), keepdim=True), shown.amax((1, 2), keepdim=True)
    grey = ((shown - low) / (high - low).clamp_min(1e-30) * 254).round().byte().numpy()
    words = (
        f"{len(shown)} of {len(value)} channels{cut}, each from its least (dark) to its greatest"
    )
    return Picture(pixels=_tiled(grey), words=words, is_smooth=True)


def kernels(weight: Tensor) -> Picture | None:
    """A weight (outputs, inputs, taps...): kernels as tiles, 1x1 ones as a mixing matrix.

    One scale for all: white 0, blue above, red below.
    """
    if weight.is_meta or not weight.is_floating_point() or weight.dim() < 2 or not weight.numel():
        return None
    values = weight.detach().float().cpu()
    cut = _cut(values.shape[2:])
    while values.dim() > 4:
        values = values[:, :, values.shape[2] // 2]
    if values.dim() == 3:
        values = values[:, :, None]
    if values.dim() == 2 or values[0, 0].numel() == 1:
        return _mixing(values.reshape(values.shape[0], -1))
    outputs, inputs, height, width = values.shape
    shown = values[:_FILTERS, :_INPUTS]
    scale = shown.abs().amax().clamp_min(1e-30)
    tiles = _coloured((shown / scale).reshape(-1, height, width))
    columns = shown.shape[1] if inputs > 1 else None
    words = (
        f"{height} x {width} kernels, {len(shown)} of {outputs} outputs"
        + (f" (rows), {shown.shape[1]} of {inputs} inputs (columns)" if inputs > 1 else "")
        + f"{cut}; blue adds, red takes away"
    )
    return Picture(pixels=_tiled(tiles, columns), words=words)


def _cut(sizes: Sequence[int]) -> str:
    """Which slice of a volume is shown."""
    places = " and ".join(f"{size // 2} of 0 to {size - 1}" for size in sizes[:-2])
    return f", the slice at depth {places}" if places else ""


def _mixing(matrix: Tensor) -> Picture:
    """Outputs down, inputs across; of a large matrix the strongest weight of each block."""
    rows, columns = matrix.shape
    blocks = tuple(ceil(n / _MATRIX) for n in (rows, columns))
    padded = F.pad(matrix, (0, -columns % blocks[1], 0, -rows % blocks[0]))
    apart = padded.unflatten(1, (-1, blocks[1])).unflatten(0, (-1, blocks[0])).permute(0, 2, 1, 3)
    flat = apart.flatten(2)
    strongest = flat.gather(2, flat.abs().argmax(2, keepdim=True))[..., 0]
    scale = strongest.abs().amax().clamp_min(1e-30)
    words = f"mixing weights, {rows} outputs (down) of {columns} inputs (across)"
    if max(blocks) > 1:
        words += f"; a square is the strongest of {blocks[0]} x {blocks[1]}"
    return Picture(pixels=_coloured(strongest / scale), words=f"{words}; blue adds, red takes away")


def heat(weights: np.ndarray | None) -> np.ndarray | None:
    """What an output listens to (height, width) as bytes; None for what is no picture."""
    if weights is None or weights.ndim != 2 or not weights.any():
        return None
    # The square root keeps the faint edge visible.
    return np.round(np.sqrt(weights / weights.max()) * 255).astype(np.uint8)


def _coloured(values: Tensor) -> np.ndarray:
    """Values from -1 to 1 as colours: red, white, blue."""
    plain = torch.nan_to_num(values).clamp(-1, 1).numpy()
    away = np.abs(plain)[..., None]
    ends = np.where(plain[..., None] > 0, (20, 70, 140), (194, 65, 12))
    return np.round(255 * (1 - away) + ends * away).astype(np.uint8)


def _tiled(tiles: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Tiles (n, height, width[, 3]) in rows, one pixel apart."""
    count, height, width = tiles.shape[:3]
    across = columns or min(count, ceil(sqrt(2 * count)))
    down = ceil(count / across)
    shape = (down * (height + 1) - 1, across * (width + 1) - 1, *tiles.shape[3:])
    sheet = np.full(shape, _GAP, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        top, left = row * (height + 1), column * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    return sheet

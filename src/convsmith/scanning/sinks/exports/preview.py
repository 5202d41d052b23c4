# SPDX-License-Identifier: Apache-2.0
"""An image of any size as a small picture."""

import numpy as np

from convsmith.scanning.sources import Source, read_window


def shrunken(source: Source, factor: int, budget: int) -> np.ndarray:
    """float64 (rows, columns, 3) from 0 to 255: each pixel the mean of `factor` by `factor`.

    One channel or two show grey, more show their first three. Samples other than bytes are
    stretched from the least to the greatest of the picture. NaN shows black.
    """
    channels, height, width = source.shape
    used = 3 if channels >= 3 else 1
    rows, columns = -(-height // factor), -(-width // factor)
    picture = np.zeros((rows, columns, used))
    # Once as it is stored, once as float64.
    pixel = channels * source.dtype.itemsize + 8 * used
    across = max(1, min(columns, budget // (pixel * factor * factor)))
    down = max(1, min(rows, budget // (pixel * factor * factor * across)))
    for top in range(0, rows, down):
        for left in range(0, columns, across):
            window = (
                slice(top * factor, min((top + down) * factor, height)),
                slice(left * factor, min((left + across) * factor, width)),
            )
            samples = read_window(source, window, nan="allow")[:used].astype(np.float64)
            means = _means(samples, factor)
            picture[top : top + down, left : left + across] = means.transpose(1, 2, 0)
    picture = np.nan_to_num(picture, nan=0.0, posinf=0.0, neginf=0.0)
    if source.dtype != np.uint8:
        low, high = picture.min(), picture.max()
        picture = 255 * (picture - low) / ((high - low) or 1.0)
    return np.broadcast_to(picture, (rows, columns, 3))


def _means(samples: np.ndarray, factor: int) -> np.ndarray:
    """Means of blocks; those at the far edges are as large as the image lets them be."""
    for axis in (1, 2):
        size = samples.shape[axis]
        starts = np.arange(0, size, factor)
        counts = np.diff(np.append(starts, size))
        shape = [-1 if i == axis else 1 for i in range(3)]
        samples = np.add.reduceat(samples, starts, axis=axis) / counts.reshape(shape)
    return samples

# SPDX-License-Identifier: Apache-2.0
"""Colours of classes, and of heat."""

from colorsys import hls_to_rgb

import numpy as np

# Eight colours that the colour-blind tell apart (Okabe and Ito, 2008), without black and white.
_FIRST = (
    *((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167)),
    *((86, 180, 233), (213, 94, 0), (240, 228, 66)),
)
_GOLDEN = 0.618033988749895  # turns that never come near to one another

# Dark blue to yellow, lighter all the way, so that it reads without colour, too.
_HEAT = np.array([(20, 20, 90), (60, 80, 160), (40, 150, 150), (130, 200, 90), (250, 235, 60)])


def class_colour(label: int) -> tuple[int, int, int]:
    """The colour of a class, the same in every export.

    >>> class_colour(0), class_colour(100) == class_colour(101)
    ((0, 114, 178), False)
    """
    if label < len(_FIRST):
        return _FIRST[label]
    lightness = (0.35, 0.5, 0.65)[label % 3]
    red, green, blue = hls_to_rgb(label * _GOLDEN % 1, lightness, 0.75)
    return round(255 * red), round(255 * green), round(255 * blue)


def heat_colours(values: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) for values from 0, the coldest, to 1."""
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(values, stops, _HEAT[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)

# SPDX-License-Identifier: Apache-2.0
"""Where the product of strassen.h, seven multiplications for eight, is worth measuring."""

from collections.abc import Sequence

from convsmith.geometry import Geometry

# Below, the additions cost more than the multiplications that they save.
_LEAST_CHANNELS = 64
_LEAST_PIXELS = 28


def strassen_may_pay(pointwise: Geometry, output_shape: Sequence[int]) -> bool:
    """Whether a pointwise convolution has the channels and pixels for it.

    >>> of = lambda inputs: Geometry(in_channels=inputs, out_channels=64, kernel_size=(1, 1))
    >>> strassen_may_pay(of(64), (1, 64, 7, 7)), strassen_may_pay(of(48), (1, 64, 7, 7))
    (True, False)
    """
    channels = min(pointwise.in_channels, pointwise.out_channels)
    return channels >= _LEAST_CHANNELS and output_shape[2] * output_shape[3] >= _LEAST_PIXELS

# SPDX-License-Identifier: Apache-2.0
"""Spatially separable convolution: see README.md in this folder."""

from convsmith.convs.spatially_separable.spatially_separable import (
    SpatiallySeparableConv2d,
    SpatiallySeparableConv3d,
    spatially_separable_conv2d,
    spatially_separable_conv3d,
)

__all__ = [
    "SpatiallySeparableConv2d",
    "SpatiallySeparableConv3d",
    "spatially_separable_conv2d",
    "spatially_separable_conv3d",
]

# SPDX-License-Identifier: Apache-2.0
"""Depthwise separable convolution: see README.md in this folder."""

# Registers the kernels.
from convsmith.convs.depthwise_separable import planned as _planned  # noqa: F401
from convsmith.convs.depthwise_separable.depthwise_separable import (
    DepthwiseSeparableConv1d,
    DepthwiseSeparableConv2d,
    DepthwiseSeparableConv3d,
    depthwise_separable_conv1d,
    depthwise_separable_conv2d,
    depthwise_separable_conv3d,
)

__all__ = [
    "DepthwiseSeparableConv1d",
    "DepthwiseSeparableConv2d",
    "DepthwiseSeparableConv3d",
    "depthwise_separable_conv1d",
    "depthwise_separable_conv2d",
    "depthwise_separable_conv3d",
]

# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution: see README.md in this folder."""

# Registers the kernel.
from convsmith.convs.depthwise import planned as _planned  # noqa: F401
from convsmith.convs.depthwise.depthwise import (
    DepthwiseConv1d,
    DepthwiseConv2d,
    DepthwiseConv3d,
    depthwise_conv1d,
    depthwise_conv2d,
    depthwise_conv3d,
)

__all__ = [
    "DepthwiseConv1d",
    "DepthwiseConv2d",
    "DepthwiseConv3d",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "depthwise_conv3d",
]

# SPDX-License-Identifier: Apache-2.0
"""Pointwise convolution and the networks in a network built on it: see README.md in this folder."""

# Registers the kernel.
from convsmith.convs.pointwise import planned as _planned  # noqa: F401
from convsmith.convs.pointwise.inception import InceptionModule
from convsmith.convs.pointwise.mlp_convolution import MLPConv2d
from convsmith.convs.pointwise.pointwise import (
    PointwiseConv1d,
    PointwiseConv2d,
    PointwiseConv3d,
    pointwise_conv1d,
    pointwise_conv2d,
    pointwise_conv3d,
)
from convsmith.convs.pointwise.projection_mask import ProjectionMask

__all__ = [
    "InceptionModule",
    "MLPConv2d",
    "PointwiseConv1d",
    "PointwiseConv2d",
    "PointwiseConv3d",
    "ProjectionMask",
    "pointwise_conv1d",
    "pointwise_conv2d",
    "pointwise_conv3d",
]

# SPDX-License-Identifier: Apache-2.0
"""Unpooling convolution: see README.md in this folder."""

from convsmith.convs.unpooling.unpooling import (
    UnpoolConv1d,
    UnpoolConv2d,
    UnpoolConv3d,
    unpool_conv1d,
    unpool_conv2d,
    unpool_conv3d,
)

__all__ = [
    "UnpoolConv1d",
    "UnpoolConv2d",
    "UnpoolConv3d",
    "unpool_conv1d",
    "unpool_conv2d",
    "unpool_conv3d",
]

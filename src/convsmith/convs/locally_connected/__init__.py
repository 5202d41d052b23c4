# SPDX-License-Identifier: Apache-2.0
"""Locally connected layer: see README.md in this folder."""

from convsmith.convs.locally_connected.locally_connected import LocalConv2d, local_conv2d

__all__ = ["LocalConv2d", "local_conv2d"]

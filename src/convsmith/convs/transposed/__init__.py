# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution: see README.md in this folder."""

from convsmith.convs.transposed.layers import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from convsmith.convs.transposed.transposed import (
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)

__all__ = [
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]

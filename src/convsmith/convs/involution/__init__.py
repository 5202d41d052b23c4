# SPDX-License-Identifier: Apache-2.0
"""Involution and local self-attention: see README.md in this folder."""

from convsmith.convs.involution.attention import LocalSelfAttention2d
from convsmith.convs.involution.functional import involution1d, involution2d, involution3d
from convsmith.convs.involution.involution import LAYERS as _registered  # noqa: F401
from convsmith.convs.involution.layers import Involution1d, Involution2d, Involution3d

__all__ = [
    "Involution1d",
    "Involution2d",
    "Involution3d",
    "LocalSelfAttention2d",
    "involution1d",
    "involution2d",
    "involution3d",
]

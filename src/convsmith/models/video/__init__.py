# SPDX-License-Identifier: Apache-2.0
"""Networks that read clips: (n, channels, frames, height, width)."""

from convsmith.models.video.c3d import C3D_NETWORK
from convsmith.models.video.pulse_mask import PULSE_MASK
from convsmith.models.video.r2plus1d import R2PLUS1D

VIDEO_NETWORKS = (C3D_NETWORK, R2PLUS1D, PULSE_MASK)

# SPDX-License-Identifier: Apache-2.0
"""Networks that give every pixel a class."""

from convsmith.models.segmentation.unet_small import UNET_SMALL

SEGMENTATION_NETWORKS = (UNET_SMALL,)

# SPDX-License-Identifier: Apache-2.0
"""Networks that give every pixel a class."""

from convsmith.models.segmentation.deeplab_mobilenet_v2 import DEEPLAB_MOBILENET_V2
from convsmith.models.segmentation.unet_small import UNET_SMALL

SEGMENTATION_NETWORKS = (DEEPLAB_MOBILENET_V2, UNET_SMALL)

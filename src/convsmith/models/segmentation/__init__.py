# SPDX-License-Identifier: Apache-2.0
"""Networks that give every pixel a class."""

from convsmith.models.segmentation.deeplab_mobilenet_v2 import DEEPLAB_MOBILENET_V2
from convsmith.models.segmentation.rednet_fpn import REDNET_50_FPN
from convsmith.models.segmentation.unet_small import UNET_SMALL

SEGMENTATION_NETWORKS = (DEEPLAB_MOBILENET_V2, REDNET_50_FPN, UNET_SMALL)

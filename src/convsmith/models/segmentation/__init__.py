# SPDX-License-Identifier: Apache-2.0
"""Networks that give every pixel a class."""

from convsmith.models.segmentation.deeplab_mobilenet_v2 import DEEPLAB_MOBILENET_V2
from convsmith.models.segmentation.deeplab_small import DEEPLAB_SMALL
from convsmith.models.segmentation.rednet_fpn import REDNET_50_FPN
from convsmith.models.segmentation.segnet import SEGNET
from convsmith.models.segmentation.unet_small import UNET_SMALL
from convsmith.models.segmentation.vgg_fcn import VGG_FCNS

SEGMENTATION_NETWORKS = (
    *(*VGG_FCNS, SEGNET, UNET_SMALL),
    *(DEEPLAB_SMALL, DEEPLAB_MOBILENET_V2, REDNET_50_FPN),
)

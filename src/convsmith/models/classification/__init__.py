# SPDX-License-Identifier: Apache-2.0
"""Classifiers; those made of residual blocks throughout are in `residual`."""

from convsmith.models.classification.alexnet import ALEXNET
from convsmith.models.classification.digits_vgg import DIGITS_VGG
from convsmith.models.classification.googlenet import GOOGLENET
from convsmith.models.classification.lenet5 import LENET_5
from convsmith.models.classification.mobilenet_v1 import MOBILENET_V1, MOBILENET_V1_VWW
from convsmith.models.classification.mobilenet_v2 import MOBILENET_V2
from convsmith.models.classification.network_in_network import NETWORK_IN_NETWORK
from convsmith.models.classification.vgg16 import VGG_16
from convsmith.models.classification.xception_small import XCEPTION_SMALL

CLASSIFIERS = (
    *(LENET_5, ALEXNET, NETWORK_IN_NETWORK, VGG_16, GOOGLENET),
    *(XCEPTION_SMALL, MOBILENET_V1, MOBILENET_V1_VWW, MOBILENET_V2, DIGITS_VGG),
)

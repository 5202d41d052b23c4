# SPDX-License-Identifier: Apache-2.0
"""Classifiers without shortcuts, in the order of their years; those with are in `residual`."""

from convsmith.models.classification.digits_vgg import DIGITS_VGG
from convsmith.models.classification.lenet5 import LENET_5
from convsmith.models.classification.mobilenet_v1 import MOBILENET_V1, MOBILENET_V1_VWW
from convsmith.models.classification.mobilenet_v2 import MOBILENET_V2
from convsmith.models.classification.vgg16 import VGG_16

CLASSIFIERS = (LENET_5, VGG_16, MOBILENET_V1, MOBILENET_V1_VWW, MOBILENET_V2, DIGITS_VGG)

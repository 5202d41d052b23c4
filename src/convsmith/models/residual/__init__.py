# SPDX-License-Identifier: Apache-2.0
"""Classifiers made of blocks that are added to, or joined with, what they read."""

from convsmith.models.residual.densenet121 import DENSENET_121
from convsmith.models.residual.rednet import REDNETS
from convsmith.models.residual.resnet8 import RESNET_8
from convsmith.models.residual.resnet50 import RESNET_50
from convsmith.models.residual.resnet_cifar import CIFAR_RESNETS
from convsmith.models.residual.resnext50_32x4d import RESNEXT_50_32X4D

RESIDUAL_NETWORKS = (RESNET_8, *CIFAR_RESNETS, RESNET_50, RESNEXT_50_32X4D, DENSENET_121, *REDNETS)

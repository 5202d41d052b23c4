# SPDX-License-Identifier: Apache-2.0
"""ResNeXt-50 32x4d: the bottlenecks of ResNet-50, their 3x3 in 32 groups and twice as wide.

    x ─┬─ 1x1 ─ norm ─ ReLU ─ 3x3 in 32 groups, stride s ─ norm ─ ReLU ─ 1x1 ─ norm ─ + ─ ReLU
       │  I to O/2                   O/2 to O/2                        O/2 to O        │
       └─ 1x1, stride s ─ norm (nothing where I = O and s = 1) ────────────────────────┘

It shows what grouping buys: with twice the channels in between, the 3x3 layers have an eighth of
ResNet-50's weights, and the network costs as much as ResNet-50 of version 1.5. "32x4d" is 32
groups of 4 channels in the first stage.

Source: Xie et al., Aggregated Residual Transformations for Deep Neural Networks, 2017,
arXiv:1611.05431, table 1. 25,028,904 parameters, named as torchvision names them, and 4.23 billion
macs.
"""

from typing import ClassVar

from torch import nn

from convsmith.models.network import Network
from convsmith.models.preprocess import IMAGENET
from convsmith.models.residual.resnet50 import Bottleneck, ResNet50

_GROUPS = 32


class GroupedBottleneck(Bottleneck):
    """Half of the output channels in between, in 32 groups; the stride is on the 3x3."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        hidden = _GROUPS * max(1, out_channels // (2 * _GROUPS))
        super().__init__(
            *(in_channels, out_channels, stride),
            hidden=hidden,
            groups=_GROUPS,
            strided_filter=True,
        )


class ResNeXt50(ResNet50):
    """ResNet-50 with grouped bottlenecks.

    >>> ResNeXt50(width=0.25, num_classes=10).layer4[0].conv2.weight.shape
    torch.Size([256, 8, 3, 3])
    """

    block: ClassVar[type[nn.Module]] = GroupedBottleneck


RESNEXT_50_32X4D = Network(
    name="resnext50_32x4d",
    build=ResNeXt50,
    num_classes=1000,
    preprocess=IMAGENET,
    source="Xie et al. 2017, arXiv:1611.05431, table 1",
    description="ResNet-50 with twice as wide 3x3 layers in 32 groups",
)

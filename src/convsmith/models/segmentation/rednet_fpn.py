# SPDX-License-Identifier: Apache-2.0
"""RedNet with a feature pyramid that gives every pixel a class.

    RedNet ─ feature pyramid ─┬─ stride  4: 3x3 ───────────────────────────┐
             (256 channels)   ├─ stride  8: 3x3 ─ x2 ──────────────────────┤
                              ├─ stride 16: 3x3 ─ x2 ─ 3x3 ─ x2 ───────────+─ 1x1 ─ x4 ─ scores
                              └─ stride 32: 3x3 ─ x2 ─ 3x3 ─ x2 ─ 3x3 ─ x2 ┘
    (3x3 to 128 channels, norm, ReLU; x2 and x4 enlarge bilinearly)

It shows an involution backbone where sizes of things matter: each place's kernel reaches seven
pixels of its map, and the pyramid brings all scales to one.

Source: Li et al., Involution, 2021, arXiv:2103.06255, table 5: 18.5 million parameters and, at 2048
x 1024 pixels, 293.9 billion operations, with 19 classes; the head is that of Kirillov et al.,
Panoptic Feature Pyramid Networks, 2019, arXiv:1901.02446, figure 3.
"""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, PointwiseConv2d
from convsmith.models.blocks import he_initialized, normed
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET
from convsmith.models.pyramid import FeaturePyramid
from convsmith.models.residual.rednet import RedNetBackbone

_PYRAMID, _HEAD = 256, 128  # channels of the pyramid and of the head


class RedNetFPN(Model):
    """`depth` is that of the backbone: 26, 38, 50, 101 or 152; `width` multiplies all channels.

    >>> model = RedNetFPN(depth=26, width=0.0625, num_classes=5)
    >>> model(torch.zeros(1, 3, 72, 96)).shape
    torch.Size([1, 5, 72, 96])
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        num_classes: int = 19,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        channels, head = max(1, int(_PYRAMID * width)), max(1, int(_HEAD * width))
        self.backbone = RedNetBackbone(depth, in_channels, width, stem_window=7)
        self.pyramid = FeaturePyramid(self.backbone.channels, channels)
        self.descents = nn.ModuleList(_descent(channels, head, steps) for steps in range(4))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = PointwiseConv2d(head, num_classes)
        for part in (self.pyramid, self.descents, self.classifier):
            he_initialized(part)

    def features(self, x: Tensor) -> list[Tensor]:
        """(n, c, h, w) to the four levels of the pyramid: 256 width channels, strides 4 to 32."""
        return self.pyramid(self.backbone(x))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes, h, w): raw scores of every pixel."""
        levels = self.features(x)
        parts = []
        for i, descent in enumerate(self.descents):
            y = levels[i]
            for step, mixing in enumerate(descent.children(), 1):
                y = mixing(y) if i == 0 else _enlarged(mixing(y), levels[i - step])
            parts.append(y)
        total = parts[0] + parts[1] + parts[2] + parts[3]
        return _enlarged(self.classifier(self.dropout(total)), x)


def _descent(channels: int, head: int, steps: int) -> nn.ModuleList:
    """The 3x3 layers of a level: one for each doubling, and one where nothing is doubled."""
    widths = (channels, *[head] * (max(1, steps) - 1))
    convolutions = (Conv2d(inputs, head, 3, padding=1, bias=False) for inputs in widths)
    return nn.ModuleList(normed(c, head, norm=True, activation=nn.ReLU) for c in convolutions)


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


REDNET_50_FPN = Network(
    name="rednet50_fpn",
    build=RedNetFPN,
    num_classes=19,
    task="segmentation",
    preprocess=replace(IMAGENET, size=512, crop=None),
    source="Li et al. 2021, arXiv:2103.06255, table 5; Kirillov et al. 2019, arXiv:1901.02446",
    description="RedNet-50 with a feature pyramid that gives every pixel a class",
)

# SPDX-License-Identifier: Apache-2.0
"""RedNet with the head of RetinaNet: at every place of a pyramid, nine boxes and their classes.

    RedNet ─ feature pyramid ─ strides 8, 16, 32 ─┬─ [3x3 ─ ReLU] x 4 ─ 3x3 to 9 x classes ─ scores
       └ 3x3, stride 2 ─ 64 ─ 3x3, stride 2 ─ 128 ┴─ [3x3 ─ ReLU] x 4 ─ 3x3 to 9 x 4 ─ offsets
    (256 channels; the two towers are the same at every level)

It shows an involution backbone that finds things of all sizes, and a convolution that is used five
times over: `analyze` counts its weights once and its macs at each level.

Source: Li et al., Involution, 2021, arXiv:2103.06255, table 4: 27.8 million parameters and, at 1280
x 800 pixels, 210.1 billion operations, with 80 classes; the head is that of Lin et al., Focal Loss
for Dense Object Detection, 2017, arXiv:1708.02002, section 4.
"""

from dataclasses import replace
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.detection.anchors import PER_PLACE
from convsmith.models.detection.detections import Detections, detections
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET
from convsmith.models.pyramid import FeaturePyramid
from convsmith.models.residual.rednet import RedNetBackbone

_CHANNELS, _LAYERS = 256, 4
_PRIOR = 0.01  # the first guess: how likely an anchor holds an object


class RedNetRetinaNet(Model):
    """`depth` is that of the backbone: 26, 38, 50, 101 or 152; `width` multiplies all channels.

    What an output says, and where its anchor is: `convsmith.models.detection.anchors`. `detect`
    gives boxes.

    >>> model = RedNetRetinaNet(depth=26, width=0.0625, num_classes=5)
    >>> scores, offsets = model(torch.zeros(1, 3, 64, 96))
    >>> scores.shape, offsets.shape
    (torch.Size([1, 1161, 5]), torch.Size([1, 1161, 4]))
    >>> len(model.eval().detect(torch.zeros(1, 3, 64, 96), least_score=0.5)[0])
    0
    """

    def __init__(
        self,
        *,
        depth: int = 50,
        num_classes: int = 80,
        in_channels: int = 3,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        channels = max(1, int(_CHANNELS * width))
        self.backbone = RedNetBackbone(depth, in_channels, width, stem_window=7)
        maps = self.backbone.channels[1:]
        self.pyramid = FeaturePyramid(maps, channels)
        self.coarser = nn.ModuleList(
            Conv2d(inputs, channels, 3, stride=2, padding=1) for inputs in (maps[-1], channels)
        )
        self.class_tower, self.box_tower = _tower(channels), _tower(channels)
        self.class_head = Conv2d(channels, PER_PLACE * num_classes, 3, padding=1)
        self.box_head = Conv2d(channels, PER_PLACE * 4, 3, padding=1)
        for part in (self.pyramid, self.coarser, self.class_tower, self.box_tower):
            he_initialized(part)
        for head in (self.class_head, self.box_head):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.class_head.bias, -log((1 - _PRIOR) / _PRIOR))  # type: ignore[arg-type]

    def features(self, x: Tensor) -> list[Tensor]:
        """(n, c, h, w) to the five levels: 256 width channels, strides 8 to 128."""
        maps = self.backbone(x)[1:]
        levels = self.pyramid(maps)
        levels.append(self.coarser[0](maps[-1]))
        levels.append(self.coarser[1](F.relu(levels[-1])))
        return levels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, c, h, w) to raw scores (n, boxes, num_classes) and offsets (n, boxes, 4)."""
        levels = self.features(x)
        scores = [_by_box(self.class_head(self.class_tower(level))) for level in levels]
        offsets = [_by_box(self.box_head(self.box_tower(level))) for level in levels]
        return torch.cat(scores, 1), torch.cat(offsets, 1)

    def detect(self, x: Tensor, **options: Any) -> list[Detections]:
        """(n, c, h, w) to the boxes of each image; see `detections` for the options."""
        with torch.inference_mode():
            scores, offsets = self(x)
            return detections(scores, offsets, (x.shape[2], x.shape[3]), **options)


def _tower(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(_LAYERS):
        layers += [Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def _by_box(x: Tensor) -> Tensor:
    """(n, 9 k, h, w) to (n, h w 9, k)."""
    return x.unflatten(1, (PER_PLACE, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3)


REDNET_50_RETINANET = Network(
    name="rednet50_retinanet",
    build=RedNetRetinaNet,
    num_classes=80,
    task="detection",
    preprocess=replace(IMAGENET, size=512, crop=None),
    source="Li et al. 2021, arXiv:2103.06255, table 4; Lin et al. 2017, arXiv:1708.02002",
    description="RedNet-50 with the head of RetinaNet: nine boxes and their classes a place",
)

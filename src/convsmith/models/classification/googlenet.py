# SPDX-License-Identifier: Apache-2.0
"""GoogLeNet (Inception v1): windows of several sizes side by side, made cheap by 1x1 reductions.

            ┌─ 1x1 ──────────────┐
            ├─ 1x1 reduce ─ 3x3 ─┤
        x ──┤                    ├── joined along the channels        (nine of these modules)
            ├─ 1x1 reduce ─ 5x5 ─┤
            └─ 3x3 max pool ─ 1x1┘

It shows what a 1x1 layer before a wide window saves: without the reductions (`reduce=False`) the
nine modules have 4 times the weights and 3.5 times the macs, for outputs of the same shape.

Source: Szegedy et al., Going Deeper with Convolutions, 2015, arXiv:1409.4842, table 1. 6,998,552
parameters: the rows of the table with biases, and as many as Intel's Open Model Zoo counts of the
Caffe network (6.999 million). The two auxiliary classifiers, which only training looks at, are left
out.
"""

from torch import Tensor, nn

from convsmith.convs import Conv2d, InceptionModule, PointwiseConv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET

# Rows of table 1, stage by stage: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
_MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
_LETTERS = "abcde"


class GoogLeNet(Model):
    """The network of table 1, channels times `width`; `reduce=False` leaves the 1x1 reductions of
    the modules out.

    >>> GoogLeNet(width=0.25, num_classes=10).classifier[1]
    Linear(in_features=256, out_features=10, bias=True)
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        reduce: bool = True,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        first, channels = max(1, int(64 * width)), max(1, int(192 * width))
        self.features = nn.Sequential(
            Conv2d(in_channels, first, 7, stride=2, padding=3),
            nn.ReLU(inplace=True),
            _pool(),
            _normalisation(),
            PointwiseConv2d(first, first),
            nn.ReLU(inplace=True),
            Conv2d(first, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            _normalisation(),
            _pool(),
        )
        for stage, rows in enumerate(_MODULES, 3):
            if stage > 3:
                self.features.add_module(f"pool{stage}", _pool())
            for letter, row in zip(_LETTERS, rows, strict=False):
                a, b, c, d, e, f = (max(1, int(size * width)) for size in row)
                module = InceptionModule(channels, a, b, c, d, e, f, reduce=reduce)
                self.features.add_module(f"inception_{stage}{letter}", module)
                channels = module.out_channels
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): raw scores."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


def _pool() -> nn.Module:
    # Rounded up, so that 112 become 56 as in the table.
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _normalisation() -> nn.Module:
    return nn.LocalResponseNorm(5)


GOOGLENET = Network(
    name="googlenet",
    build=GoogLeNet,
    num_classes=1000,
    preprocess=IMAGENET,
    source="Szegedy et al. 2015, arXiv:1409.4842, table 1",
    description="Nine modules of parallel windows behind 1x1 reductions",
)

# SPDX-License-Identifier: Apache-2.0
"""digits_vgg: a small network in the manner of VGG for handwritten digits of 32 x 32 pixels.

Source: the layout is that of Simonyan and Zisserman 2015, arXiv:1409.1556, with the batch-norm of
Ioffe and Szegedy 2015, arXiv:1502.03167; the sizes are this package's own. Its trained weights are
in the package; `convsmith train digits_vgg --data digits` makes them again.
"""

from torch import Tensor, nn

from convsmith.models.classification.vgg16 import vgg_features
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess

_STAGES = ((8, 8), (16, 16), (32, 32))


class DigitsVGG(Model):
    """Three stages of two 3x3 convolutions with batch-norm, then two linear layers with dropout.

    >>> sum(p.numel() for p in DigitsVGG().parameters())
    51634
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        width: float = 1.0,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        stages = [[max(1, int(channels * width)) for channels in stage] for stage in _STAGES]
        hidden = max(1, int(64 * width))
        self.features = vgg_features(in_channels, stages, norm=True)
        self.classifier = nn.Sequential(
            nn.Linear(stages[-1][-1] * 4 * 4, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, 32, 32) to (n, num_classes): raw scores."""
        return self.classifier(self.features(x).flatten(1))


DIGITS_VGG = Network(
    name="digits_vgg",
    build=DigitsVGG,
    num_classes=10,
    preprocess=Preprocess(colour="L", size=32, mean=(0.5,), std=(0.5,), scale=255.0),
    source="after Simonyan and Zisserman 2015, arXiv:1409.1556",
    description="A small VGG with batch-norm for handwritten digits; trained weights come along",
    embedded=True,
)

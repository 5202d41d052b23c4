# SPDX-License-Identifier: Apache-2.0
"""AlexNet: two halves on two graphics cards, which is where grouped convolution comes from.

    image ─ 11x11, stride 4 ─ LRN ─ pool ─ 5x5 in 2 groups ─ LRN ─ pool ─ 3x3 ─┐
              3 to 96                        96 to 256             256 to 384  │
    classes ─ linear ─ linear ─ linear ─ pool ─ 3x3 in 2 groups ─ 3x3 in 2 groups
                 4096     4096          384 to 256         384 to 384

    (LRN: local response normalisation over 5 channels; pools 3x3, stride 2; ReLU behind each layer)

It shows what a group is: channels that two cards did not have to tell each other. Grouping halves
the weights and macs of three layers. Its linear layers are convolutions in disguise: 6x6, then 1x1
twice (`convsmith.to_fully_convolutional`).

Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural
Networks, 2012, section 3.5. 60,965,224 parameters ("60 million"; 60.965 million in Intel's Open
Model Zoo) and 659,272 neurons ("650,000"). The paper says 224 pixels and 55 x 55 outputs of the
first layer, which 11x11 with stride 4 gives with a padding of 2.
"""

from torch import Tensor, nn

from convsmith.convs import Conv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import IMAGENET


class AlexNet(Model):
    """Five convolutions and three linear layers, their channels times `width` (kept even).

    >>> AlexNet(width=0.25, num_classes=10).features[4].weight.shape
    torch.Size([64, 12, 5, 5])
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        first, second, third, last = (
            2 * max(1, int(channels * width / 2)) for channels in (96, 256, 384, 256)
        )
        hidden = max(1, int(4096 * width))
        self.features = nn.Sequential(
            Conv2d(in_channels, first, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            _normalisation(),
            nn.MaxPool2d(3, stride=2),
            Conv2d(first, second, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            _normalisation(),
            nn.MaxPool2d(3, stride=2),
            Conv2d(second, third, 3, padding=1),
            nn.ReLU(inplace=True),
            Conv2d(third, third, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            Conv2d(third, last, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(last * 6 * 6, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, 224, 224) to (n, num_classes): raw scores."""
        return self.classifier(self.features(x).flatten(1))


def _normalisation() -> nn.Module:
    # The paper adds squares up, torch takes their mean: alpha is five times the paper's 1e-4.
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


ALEXNET = Network(
    name="alexnet",
    build=AlexNet,
    num_classes=1000,
    preprocess=IMAGENET,
    source="Krizhevsky, Sutskever and Hinton 2012, section 3.5",
    description="Five convolutions, three of them in two groups, and three linear layers",
)

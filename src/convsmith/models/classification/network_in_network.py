# SPDX-License-Identifier: Apache-2.0
"""Network in Network: a small perceptron slides over the image; its last maps are the classes.

    image ─ [5x5 ─ 1x1 ─ 1x1] ─ max pool ─ [5x5 ─ 1x1 ─ 1x1] ─ average pool ─┐
             192   160   96                 192   192   192                  │
    classes ─ mean of each map ─ [3x3 ─ 1x1 ─ 1x1] ──────────────────────────┘
                                  192   192  classes
    (a ReLU behind each layer; pools 3x3, stride 2; [ ] is one `MLPConv2d`)

It shows cascaded cross-channel parametric pooling: 1x1 layers mix what a window saw, without
linear layers behind. The mean of each class's own map replaces them: nothing to learn, nothing to
overfit, and a larger image gives a map of classes.

Source: Lin, Chen and Yan, Network In Network, 2014, arXiv:1312.4400, figure 2. The paper gives no
sizes; these are of the authors' own definition for CIFAR-10: 966,986 parameters.
"""

from torch import Tensor, nn

from convsmith.convs import MLPConv2d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import CIFAR


class NetworkInNetwork(Model):
    """Three perceptrons that slide; the last gives a map for each class.

    >>> NetworkInNetwork(width=0.25, num_classes=7)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 7])
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        wide, middle, narrow = (max(1, int(channels * width)) for channels in (192, 160, 96))
        self.features = nn.Sequential(
            MLPConv2d(in_channels, narrow, 5, (wide, middle), padding=2),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.Dropout(dropout),
            MLPConv2d(narrow, wide, 5, padding=2),
            nn.AvgPool2d(3, stride=2, ceil_mode=True),
            nn.Dropout(dropout),
            MLPConv2d(wide, num_classes, 3, (wide, wide), padding=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to (n, num_classes): the mean of each class's map."""
        return self.pool(self.features(x)).flatten(1)


NETWORK_IN_NETWORK = Network(
    name="network_in_network",
    build=NetworkInNetwork,
    num_classes=10,
    preprocess=CIFAR,
    source="Lin, Chen and Yan 2014, arXiv:1312.4400",
    description="Perceptrons that slide over the image; the mean of a map is its class's score",
)

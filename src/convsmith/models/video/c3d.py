# SPDX-License-Identifier: Apache-2.0
"""C3D: VGG with a third axis, every kernel 3x3x3.

    clip ─ 64 ─ pool 1x2x2 ─ 128 ─ pool ─ 256 ─ 256 ─ pool ─ 512 ─ 512 ─ pool ─ 512 ─ 512 ─ pool ─┐
           classes ─ linear 4096 ─ linear 4096 ────────────────────────────────────────────────────┘
    (3x3x3, padding 1, ReLU; pools 2x2x2 but for the first, which leaves the frames alone)

It shows convolution along three axes, and what it costs: three times the products of 3x3 at every
place, 38.5 billion macs for half a second of video. `r2plus1d` splits them.

Source: Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, 2015,
arXiv:1412.0767, figure 3. With the 487 classes of Sports-1M 79,991,015 parameters; Carreira and
Zisserman 2017, arXiv:1705.07750, table 1, say 79 million.
"""

from itertools import pairwise

from torch import Tensor, nn

from convsmith.convs import Conv3d
from convsmith.models.blocks import he_initialized
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
_FRAMES, _SIZE = 16, 112


class C3D(Model):
    """Eight convolutions and three linear layers, channels times `width`, for clips of 16 frames.

    `image_size` is the side of a frame, 16 or more; the pools leave image_size // 16 / 2 of it,
    rounded up: 4 of 112.

    >>> C3D(width=0.0625, num_classes=5)(torch.zeros(1, 3, 16, 112, 112)).shape
    torch.Size([1, 5])
    """

    def __init__(
        self,
        *,
        num_classes: int = 487,
        in_channels: int = 3,
        width: float = 1.0,
        image_size: int = _SIZE,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        inputs = in_channels
        for number, stage in enumerate(_STAGES, 1):
            widths = [max(1, int(channels * width)) for channels in stage]
            for before, after in pairwise((inputs, *widths)):
                self.features.append(Conv3d(before, after, 3, padding=1))
                self.features.append(nn.ReLU(inplace=True))
            self.features.append(_pool(number))
            inputs = widths[-1]
        side = -(-(image_size // 16) // 2)  # 16 frames are one by then
        hidden = max(1, int(4096 * width))
        self.classifier = nn.Sequential(
            nn.Linear(inputs * side**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        he_initialized(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, 16, image_size, image_size) to (n, num_classes): raw scores."""
        return self.classifier(self.features(x).flatten(1))


def _pool(stage: int) -> nn.Module:
    if stage == 1:
        return nn.MaxPool3d((1, 2, 2))
    # The fourth map is 7 x 7 pixels: the last pool keeps the odd row and column.
    return nn.MaxPool3d(2, ceil_mode=stage == len(_STAGES))


C3D_NETWORK = Network(
    name="c3d",
    build=C3D,
    num_classes=487,
    frames=_FRAMES,
    preprocess=Preprocess(size=_SIZE, mean=(127.5,) * 3, std=(127.5,) * 3, scale=1.0),
    source="Tran et al. 2015, arXiv:1412.0767, figure 3",
    description="Eight 3x3x3 convolutions for clips of 16 frames",
)

# SPDX-License-Identifier: Apache-2.0
"""LeNet-5: convolution, sub-sampling, a connection table, and codes of +-1 to compare with.

    image ─ C1 5x5 ─ S2 2x2 ─ C3 5x5 by a table ─ S4 2x2 ─ C5 5x5 ─ F6 ─ distance to ten codes
              6         6      16 (60 of 96 pairs)   16      120     84

It shows a connection table: each map of C3 reads some of the maps below, so that maps cannot all
learn the same. C5 is a linear layer on a small image, and a convolution on a large one.

Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, section II.B.
60,000 trainable parameters: C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164. The codes of the
output layer are fixed and not counted.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convsmith.convs import Conv2d, TableConv2d, lenet5_table
from convsmith.errors import UnsupportedError
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess

# Each digit as 7 x 12 pixels, in the manner of the paper's figure 3; drawn for this package.
_CODE_SIZE = 7 * 12
_DRAWINGS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
.#####.  ..##...  .#####.  .#####.  .#...#.  #######  ..####.  #######  .#####.  .#####.
##...##  .###...  ##...##  #....##  ##...##  ##.....  .##....  .....##  ##...##  ##...##
##...##  ####...  .....##  .....##  ##...##  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ..##...  .....##  .....##  ##...##  ######.  ##.....  ....##.  ##...##  ##...##
##...##  ..##...  ....##.  ..####.  #######  .....##  ######.  ...##..  .#####.  .######
##...##  ..##...  ...##..  .....##  .....##  .....##  ##...##  ...##..  ##...##  .....##
##...##  ..##...  ..##...  .....##  .....##  .....##  ##...##  ..##...  ##...##  .....##
##...##  ..##...  .##....  #....##  .....##  ##...##  ##...##  ..##...  ##...##  ....##.
.#####.  ######.  #######  .#####.  .....##  .#####.  .#####.  ..##...  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def digit_codes() -> Tensor:
    """The ten codes, shape (10, 84): +1 where the drawing of the digit has ink, else -1."""
    rows = [line.split() for line in _DRAWINGS.split("\n") if line]
    drawings = ["".join(rows[r][digit] for r in range(12)) for digit in range(10)]
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in code] for code in drawings])


class ScaledTanh(nn.Module):
    """A tanh(S a) with A = 1.7159 and S = 2/3, so that +-1 maps to +-1 (appendix A)."""

    def forward(self, a: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return 1.7159 * torch.tanh(a * (2 / 3))


class SubSampling(nn.Module):
    """The sum of every 2 x 2 pixels, times one trainable coefficient a channel, plus one bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((channels, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, channels, h / 2, w / 2)."""
        return F.avg_pool2d(x, 2, divisor_override=1) * self.coefficient + self.bias


class DistanceToCodes(nn.Module):
    """The paper's output layer: the squared Euclidean distance to each class's fixed code.

    score = -distance / 8, the log-likelihood of a Gaussian of variance 4 about the code: as
    everywhere else the largest score wins, and cross-entropy does not saturate as it would on the
    distances themselves, which reach the hundreds.
    """

    codes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", digit_codes())

    def forward(self, x: Tensor) -> Tensor:
        """(n, 84) to (n, 10)."""
        return (x.unsqueeze(1) - self.codes).square().sum(-1) / -8


class LeNet5(Model):
    """The network of figure 2 for images of 32 x 32 pixels.

    C3 follows the paper's connection table; C5 is a 5x5 convolution, so that a larger image gives a
    map of classifiers. `output="codes"` compares with the fixed codes of ten digits;
    `output="linear"` is a trainable layer for any number of classes.

    Raises:
        UnsupportedError: if `width` is not 1 (the table is for 6 and 16 maps), or if codes are
            asked for other than ten classes.

    >>> sum(p.numel() for p in LeNet5().parameters())
    60000
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        width: float = 1.0,
        output: Literal["codes", "linear"] = "codes",
    ) -> None:
        super().__init__()
        if width != 1 or (output == "codes" and num_classes != 10):
            raise UnsupportedError(
                f"lenet5: width {width} and {num_classes} classes with output {output!r}; the "
                f"connection table fixes width 1, and codes are drawn for 10 digits: take "
                f"output='linear' for other classes"
            )
        self.features = nn.Sequential(
            Conv2d(in_channels, 6, 5),  # C1
            ScaledTanh(),
            SubSampling(6),  # S2
            ScaledTanh(),
            TableConv2d(lenet5_table(), 5),  # C3
            ScaledTanh(),
            SubSampling(16),  # S4
            ScaledTanh(),
            Conv2d(16, 120, 5),  # C5
            ScaledTanh(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(120, _CODE_SIZE),  # F6
            ScaledTanh(),
            DistanceToCodes() if output == "codes" else nn.Linear(_CODE_SIZE, num_classes),
        )

        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                # LeCun et al., Efficient BackProp, 1998, 4.6: the scale for this activation.
                nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, 32, 32) to (n, num_classes): the largest score wins."""
        return self.classifier(self.features(x).flatten(1))


# The paper's grey levels: background -0.1 and ink 1.175, so that the mean is near 0 and the
# variance near 1.
LENET_5 = Network(
    name="lenet5",
    build=LeNet5,
    num_classes=10,
    preprocess=Preprocess(colour="L", size=32, mean=(0.1 / 1.275,), std=(1 / 1.275,), scale=255.0),
    source="LeCun et al. 1998, section II.B",
    description="The network that read cheques, with its connection table and its output codes",
)

# SPDX-License-Identifier: Apache-2.0
"""A network that reads the pulse from a face, and finds the skin by itself.

    frame ── 3x3/32 ─ tanh ─ 3x3/32 ─┬─ tanh ─ pool ─ 3x3/64 ─ tanh ─ 3x3/64 ─┐
                                     │ 1x1, sigmoid                           │ 1x1, sigmoid
                                    mask                                     mask
                                     ×                                        ×
    change ─ 3x3/32 ─ tanh ─ 3x3/32 ─ tanh ─ pool ─ 3x3/64 ─ tanh ─ 3x3/64 ─ tanh ─ pool ─ linear
    (the first of each pair of convolutions pads, the second does not; pools average 2x2)

It shows a pointwise convolution as a question put to every place: nobody says which pixels are
skin, but only skin changes colour with the heart, so a mask that lets skin through predicts better.
`mask=False` is the network without it.

The change of two frames is (next - this) / (next + this): what light and skin have in common
cancels. A mask is divided by its sum, so that it can point, but not turn everything up.

Source: Chen and McDuff, DeepPhys: Video-Based Physiological Measurement Using Convolutional
Attention Networks, 2018, arXiv:1805.07888, figure 2.
"""

import torch
from torch import Tensor, nn

from convsmith.convs import Conv2d, ProjectionMask
from convsmith.models.network import Model, Network
from convsmith.models.preprocess import Preprocess

_SIZE, _FRAMES = 36, 128
_CHANNELS, _HIDDEN = (32, 64), 128


class PulseMask(Model):
    """Two streams of two pairs of convolutions, channels times `width`.

    `image_size` is the side of the frames, whose values are 0 to 1. After a call, `masks` has the
    last masks of the two levels.

    >>> model = PulseMask(width=0.25).eval()
    >>> model(torch.rand(2, 3, 5, 36, 36)).shape, [tuple(mask.shape) for mask in model.masks]
    (torch.Size([2, 4]), [(8, 1, 34, 34), (8, 1, 15, 15)])
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        mask: bool = True,
        image_size: int = _SIZE,
        dropout: tuple[float, float] = (0.25, 0.5),
    ) -> None:
        super().__init__()
        first, second = (max(1, int(channels * width)) for channels in _CHANNELS)
        hidden = max(1, int(_HIDDEN * width))
        self.motion = nn.ModuleList([_Pair(in_channels, first), _Pair(first, second)])
        self.appearance = nn.ModuleList()
        self.projections = nn.ModuleList()
        if mask:
            self.appearance.extend([_Pair(in_channels, first), _Pair(first, second)])
            self.projections.extend([ProjectionMask(first), ProjectionMask(second)])
        self.pool = nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout[0])
        side = ((image_size - 2) // 2 - 2) // 2
        self.head = nn.Sequential(
            nn.Linear(second * side**2, hidden),
            nn.Tanh(),
            nn.Dropout(dropout[1]),
            nn.Linear(hidden, 1),
        )

    @property
    def masks(self) -> list[Tensor]:
        """The masks of the last call, (n (frames - 1), 1, h, w), from fine to coarse."""
        maps = [projection.map for projection in self.projections]
        return [mask for mask in maps if isinstance(mask, Tensor)]

    def features(self, x: Tensor) -> Tensor:
        """(n, c, frames, h, w) to what changes from frame to frame where the masks point:
        (n (frames - 1), 64 width, (h - 6) / 4, (w - 6) / 4).
        """
        frames = x.transpose(1, 2)
        this, following = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
        y, look = _relative_change(this, following), this
        for level, pair in enumerate(self.motion):
            y = torch.tanh(pair(y))
            if self.projections:
                look = self.appearance[level](look)
                y = y * _pointing(self.projections[level](look))
                look = self.dropout(self.pool(torch.tanh(look)))
            y = self.dropout(self.pool(y))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, frames, h, w) to (n, frames - 1): how the pulse changes from frame to frame."""
        changes = self.head(self.features(x).flatten(1))
        return changes.unflatten(0, (x.shape[0], x.shape[2] - 1)).squeeze(-1)


class _Pair(nn.Sequential):
    """Two 3x3 convolutions with a tanh between; what follows the second one is the caller's."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            Conv2d(in_channels, channels, 3, padding=1), nn.Tanh(), Conv2d(channels, channels, 3)
        )


def _relative_change(this: Tensor, following: Tensor) -> Tensor:
    return (following - this) / (following + this).clamp(min=1e-3)


def _pointing(mask: Tensor) -> Tensor:
    """The mask times half its area over its sum."""
    return mask * (mask.shape[-2] * mask.shape[-1] / 2) / mask.sum((-2, -1), keepdim=True)


def beats_per_minute(changes: Tensor, frames_per_second: float) -> Tensor:
    """The heart rate in the changes of a pulse: the strongest frequency from 40 to 240 a minute.

    Args:
        changes: (..., frames - 1), as the network gives them.
        frames_per_second: Of the clip.

    Returns:
        Shape (...). Its steps are a tenth of a beat; what it can tell apart is 60 / seconds.

    >>> seconds = torch.arange(300) / 30
    >>> beats_per_minute(torch.cos(2 * torch.pi * 1.2 * seconds), 30).item()
    72.0
    """
    rates = torch.arange(400, 2401, device=changes.device) / 10
    times = torch.arange(changes.shape[-1], device=changes.device) / frames_per_second
    angles = 2 * torch.pi * times[:, None] * rates / 60
    window = torch.hann_window(changes.shape[-1], periodic=False, device=changes.device)
    level = (changes - changes.mean(-1, keepdim=True)) * window
    power = (level @ angles.cos()).square() + (level @ angles.sin()).square()
    return rates[power.argmax(-1)]


PULSE_MASK = Network(
    name="pulse_mask",
    build=PulseMask,
    num_classes=None,
    task="pulse",
    frames=_FRAMES,
    preprocess=Preprocess(size=_SIZE, mean=(0.0,) * 3, std=(1.0,) * 3, scale=255.0),
    source="Chen and McDuff 2018, arXiv:1805.07888, figure 2",
    description="Reads the pulse from video of a face through a mask that finds the skin",
)

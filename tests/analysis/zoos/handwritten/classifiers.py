# SPDX-License-Identifier: Apache-2.0
"""Classifiers in the styles of their papers: branches, shuffles, attention over channels."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..definition import Definition
from .blocks import on, unit


class Shuffled(nn.Module):
    """ShuffleNet (Zhang et al. 2018): grouped 1x1, then channels of the groups are mixed."""

    def __init__(self, channels: int, groups: int, stride: int) -> None:
        super().__init__()
        self.groups, self.stride = groups, stride
        self.squeeze = unit(channels, channels, 1, groups=groups)
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)
        self.expand = nn.Conv2d(channels, channels, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(x)
        n, c, h, w = y.size()
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous()
        y = self.expand(self.depthwise(y.view(n, -1, h, w)))
        if self.stride == 2:
            return F.relu(torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1))
        return F.relu(x + y)


@on((1, 3, 224, 224))
def shuffle_net(groups: int, width: int) -> nn.Module:
    layers: list[nn.Module] = [unit(3, width, 3, 2), nn.MaxPool2d(3, 2, 1)]
    for _ in range(3):
        layers += [Shuffled(width, groups, 2), *(Shuffled(2 * width, groups, 1) for _ in range(3))]
        width *= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


class Halved(nn.Module):
    """ShuffleNet v2 (Ma et al. 2018): one half passes by."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.way = nn.Sequential(
            unit(half, half, 1), nn.Conv2d(half, half, 3, 1, 1, groups=half), unit(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return F.channel_shuffle(torch.cat((left, self.way(right)), 1), 2)


@on((1, 3, 96, 96))
def shuffle_net_v2(width: int) -> nn.Module:
    return nn.Sequential(unit(3, width, 3, 2), *(Halved(width) for _ in range(4)))


class Dense(nn.Module):
    """DenseNet (Huang et al. 2017): every layer reads all before it."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, growth, 3, padding=1))
            for c in range(inputs, inputs + layers * growth, growth)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, dim=1)))
        return torch.cat(features, 1)


@on((1, 3, 64, 64))
def dense_net(growth: int, layers: int) -> nn.Module:
    inner = 16 + growth * layers
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        Dense(16, growth, layers),
        nn.Conv2d(inner, 16, 1),
        nn.AvgPool2d(2),
        Dense(16, growth, layers),
    )


class Fire(nn.Module):
    """SqueezeNet (Iandola et al. 2016)."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.one, self.three = (nn.Conv2d(squeezed, expanded, k, padding=k // 2) for k in (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


@on((1, 3, 224, 224))
def squeeze_net(kernel: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 64, kernel, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(128, 32, 128),
        nn.Dropout(),
        nn.Conv2d(256, 10, 1),
        nn.AdaptiveAvgPool2d(1),
    )


class Gated(nn.Module):
    """An inverted residual with squeeze and excitation (Howard et al. 2019)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.is_skipped = stride == 1 and inputs == outputs
        self.way = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1),
            nn.Hardswish(),
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden),
            nn.Hardswish(),
        )
        self.gate = nn.Sequential(
            nn.Conv2d(hidden, inputs, 1), nn.ReLU(), nn.Conv2d(inputs, hidden, 1), nn.Hardsigmoid()
        )
        self.out = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.way(x)
        y = self.out(y * self.gate(y.mean((2, 3), keepdim=True)))
        return x + y if self.is_skipped else y


@on((1, 3, 160, 160))
def mobile_net_v3(kernel: int, width: int) -> nn.Module:
    steps = [(width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
    blocks = [Gated(i, o, kernel, s) for i, o, s in steps]
    return nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), *blocks)


class Ghost(nn.Module):
    """GhostNet (Han et al. 2020): half of the channels are cheap copies of the others."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.primary = unit(inputs, -(-outputs // 2), 1)
        self.cheap = unit(-(-outputs // 2), -(-outputs // 2), 3, groups=-(-outputs // 2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], 1)[:, : self.outputs]


@on((1, 3, 64, 64))
def ghost_net(width: int) -> nn.Module:
    return nn.Sequential(Ghost(3, width), Ghost(width, width + 1), Ghost(width + 1, width))


class Selective(nn.Module):
    """Selective kernels (Li et al. 2019): branches weighted by a softmax over them."""

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            unit(channels, channels, 3, padding=1 + i, dilation=1 + i, groups=4)
            for i in range(branches)
        )
        self.reduce = nn.Linear(channels, 8)
        self.choose = nn.ModuleList(nn.Linear(8, channels) for _ in range(branches))

    def forward(self, x: Tensor) -> Tensor:
        found = torch.stack([branch(x) for branch in self.branches], dim=1)
        pooled = self.reduce(found.sum(1).mean(-1).mean(-1))
        weights = torch.stack([choose(pooled) for choose in self.choose], 1).softmax(dim=1)
        return (found * weights[..., None, None]).sum(dim=1)


@on((1, 16, 32, 32))
def selective_kernels(branches: int) -> nn.Module:
    return nn.Sequential(Selective(16, branches), Selective(16, branches))


class Attentive(nn.Module):
    """CBAM (Woo et al. 2018): attention over channels, then over places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        pools = (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1))
        gate = torch.sigmoid(sum(self.shared(p.flatten(1)) for p in pools))
        x = x * gate.unsqueeze(2).unsqueeze(3).expand_as(x)
        seen = torch.cat([x.max(1, keepdim=True)[0], x.mean(1, keepdim=True)], 1)
        return x * self.spatial(seen).sigmoid()


@on((1, 8, 40, 40))
def attention_modules(depth: int) -> nn.Module:
    return nn.Sequential(*[m for _ in range(depth) for m in (unit(8, 8), Attentive(8))])


class Octave(nn.Module):
    """Octave convolution (Chen et al. 2019): two resolutions that exchange."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ways = nn.ModuleDict(
            {key: nn.Conv2d(channels, channels, 3, padding=1) for key in ("hh", "hl", "lh", "ll")}
        )

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        high, low = pair
        to_high = F.interpolate(self.ways["lh"](low), scale_factor=2, mode="nearest")
        to_low = self.ways["hl"](F.avg_pool2d(high, 2))
        return self.ways["hh"](high) + to_high, self.ways["ll"](low) + to_low


class OctaveNet(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Octave(4) for _ in range(depth))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        pair = (x, F.avg_pool2d(x, 2))
        for layer in self.layers:
            pair = layer(pair)
        return {"high": pair[0], "low": pair[1]}


@on((1, 4, 32, 32))
def octave_net(depth: int) -> nn.Module:
    return OctaveNet(depth)


class Reparameterised(nn.Module):
    """RepVGG in training form (Ding et al. 2021)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.three = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels))
        self.one = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))
        self.same = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.three(x) + self.one(x) + self.same(x))


@on((1, 8, 32, 32))
def rep_vgg(depth: int) -> nn.Module:
    return nn.Sequential(*(Reparameterised(8) for _ in range(depth)))


@on((1, 3, 32, 32))
def conv_mixer(kernel: int) -> nn.Module:
    """ConvMixer (Trockman & Kolter 2022), all in one expression."""

    class Residual(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x

    mixed = [
        part
        for _ in range(3)
        for part in (
            Residual(nn.Conv2d(16, 16, kernel, groups=16, padding="same"), nn.GELU()),
            nn.Conv2d(16, 16, 1),
        )
    ]
    return nn.Sequential(nn.Conv2d(3, 16, 4, 4), *mixed)


class Spatially(nn.Module):
    """SPP (He et al. 2014): pooled to several grids, whatever the size."""

    def __init__(self, grids: tuple[int, ...]) -> None:
        super().__init__()
        self.grids = grids
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8 * sum(g * g for g in grids), 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        pooled = [F.adaptive_max_pool2d(x, grid).flatten(1) for grid in self.grids]
        return self.head(torch.cat(pooled, -1))


@on((1, 3, 57, 43))
def pyramid_pooling(grids: tuple[int, ...]) -> nn.Module:
    return Spatially(grids)


def definitions() -> Iterator[Definition]:
    """All of them."""
    yield from (shuffle_net(groups=g, width=w) for g in (1, 2, 4) for w in (16, 32))
    yield from (shuffle_net_v2(width=w) for w in (8, 24))
    yield from (dense_net(growth=g, layers=n) for g in (4, 12) for n in (2, 6))
    yield from (squeeze_net(kernel=k) for k in (3, 7))
    yield from (mobile_net_v3(kernel=k, width=w) for k in (3, 5) for w in (8, 16))
    yield from (ghost_net(width=w) for w in (8, 15))
    yield from (selective_kernels(branches=b) for b in (2, 3))
    yield from (attention_modules(depth=d) for d in (1, 3))
    yield from (octave_net(depth=d) for d in (1, 3))
    yield from (rep_vgg(depth=d) for d in (1, 4))
    yield from (conv_mixer(kernel=k) for k in (5, 9))
    yield from (pyramid_pooling(grids=g) for g in ((1, 2, 4), (3,)))

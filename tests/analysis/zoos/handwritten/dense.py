# SPDX-License-Identifier: Apache-2.0
"""Networks that answer with a map: encoder-decoders, pyramids, super-resolution, generators."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..definition import Definition
from .blocks import on, unit


class UNet(nn.Module):
    """Ronneberger et al. 2015: skips are cut, or what came up is padded, to the other's size."""

    def __init__(self, depth: int, crops: bool) -> None:
        super().__init__()
        widths = [8 * 2**i for i in range(depth)]
        padding = 0 if crops else 1
        self.crops = crops
        self.down, self.up, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = 1
        for width in widths:
            self.down.append(unit(inputs, width, padding=padding))
            inputs = width
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * width, width, 2, 2))
            self.join.append(unit(2 * width, width, padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for number, layer in enumerate(self.down):
            x = layer(x if number == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = up(x)
            dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
            if self.crops:
                top, left = dy // 2, dx // 2
                skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
            elif dy or dx:
                x = F.pad(x, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2))
            x = join(torch.cat([skip, x], dim=1))
        return x


@on((1, 1, 93, 109))
def u_net(depth: int, crops: bool) -> nn.Module:
    return UNet(depth, crops)


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al. 2017): resized to the size of the level below."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.stages = nn.ModuleList(unit(3 if i == 0 else 8 * i, 8 * i + 8, 3, 2) for i in range(4))
        self.lateral = nn.ModuleList(nn.Conv2d(8 * i + 8, 8, 1) for i in range(4))
        self.smooth = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        found: OrderedDict[str, Tensor] = OrderedDict()
        top = None
        for i in reversed(range(4)):
            own = self.lateral[i](levels[i])
            if top is not None:
                own = own + F.interpolate(top, size=own.shape[-2:], mode=self.mode)
            top = own
            found[f"p{i}"] = self.smooth[i](own)
        return found


@on((1, 3, 101, 77))
def feature_pyramid(mode: str) -> nn.Module:
    return Pyramid(mode)


class Parallel(nn.Module):
    """High-resolution network (Wang et al. 2020): branches that exchange at every stage."""

    def __init__(self, branches: int) -> None:
        super().__init__()
        self.stem = unit(3, 8)
        self.branches = nn.ModuleList(unit(8, 8) for _ in range(branches))
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, 2, 1) for _ in range(branches - 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for down in self.down:
            maps.append(down(maps[-1]))
        maps = [branch(m) for branch, m in zip(self.branches, maps, strict=True)]
        fused = maps[0]
        for factor, m in enumerate(maps[1:], 1):
            fused = fused + F.interpolate(m, scale_factor=2.0**factor, mode="bilinear")
        return fused


@on((1, 3, 64, 64))
def high_resolution(branches: int) -> nn.Module:
    return Parallel(branches)


class Atrous(nn.Module):
    """DeepLab v3 (Chen et al. 2017): dilated branches and one that pools the image."""

    def __init__(self, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = unit(3, 16, 3, 2)
        self.branches = nn.ModuleList(unit(16, 8, padding=r, dilation=r) for r in rates)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 8, 1), nn.ReLU())
        self.project = nn.Conv2d(8 * (len(rates) + 1), 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        whole = self.pooled(y).expand(-1, -1, *y.shape[2:])
        y = self.project(torch.cat([*(branch(y) for branch in self.branches), whole], 1))
        return F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=False)


@on((1, 3, 129, 129))
def atrous_pyramid(rates: tuple[int, ...]) -> nn.Module:
    return Atrous(rates)


class Hourglass(nn.Module):
    """Newell et al. 2016: it holds itself."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.skip, self.low, self.out = unit(8, 8), unit(8, 8), unit(8, 8)
        self.inner = Hourglass(depth - 1) if depth > 1 else unit(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        low = self.out(self.inner(self.low(F.max_pool2d(x, 2, 2))))
        return self.skip(x) + nn.functional.interpolate(low, scale_factor=2)


@on((1, 8, 64, 64))
def hourglass(depth: int) -> nn.Module:
    return Hourglass(depth)


class Indexed(nn.Module):
    """SegNet (Badrinarayanan et al. 2017): pooling remembers where."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.encode = nn.ModuleList(unit(3 if i == 0 else 8, 8) for i in range(depth))
        self.decode = nn.ModuleList(unit(8, 8) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for layer in self.encode:
            y = layer(x)
            x, indices = F.max_pool2d(y, 2, return_indices=True)
            kept.append((indices, y.size()))
        for layer in self.decode:
            indices, size = kept.pop()
            x = layer(F.max_unpool2d(x, indices, 2, output_size=size))
        return x


@on((1, 3, 48, 64))
def seg_net(depth: int) -> nn.Module:
    return Indexed(depth)


@on((1, 1, 40, 40))
def sub_pixel(factor: int, residual: int) -> nn.Module:
    """ESPCN and EDSR (Shi et al. 2016; Lim et al. 2017)."""

    class Scaled(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.1 * super().forward(x)

    body = [Scaled(nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))] * residual
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5, padding=2), nn.Tanh(), *body),
        nn.Conv2d(8, factor**2, 3, padding=1),
        nn.PixelShuffle(factor),
    )


@on((1, 16, 1, 1))
def generator(norm: str) -> nn.Module:
    """DCGAN (Radford et al. 2016), from noise to an image."""
    made = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}[norm]
    layers: list[nn.Module] = [nn.ConvTranspose2d(16, 32, 4, 1, 0, bias=False)]
    for width in (32, 16, 8):
        layers += [made(width), nn.ReLU(True), nn.ConvTranspose2d(width, width // 2, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Tanh())


class Modulated(nn.Module):
    """A convolution whose weights are made anew for every image (Karras et al. 2020)."""

    def __init__(self, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 8, 8, 3, 3))
        self.style = nn.Linear(4, 8)
        self.register_buffer("blur", torch.ones(8, 1, 4, 4) / 16)
        self.up = up

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        n, c, h, w = x.shape
        weight = self.weight * self.style(style).view(n, 1, c, 1, 1)
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
        x = x.reshape(1, n * c, h, w)
        if self.up:
            weight = weight.transpose(1, 2).reshape(n * c, 8, 3, 3)
            x = F.conv_transpose2d(x, weight, stride=2, groups=n)
            x = F.conv2d(F.pad(x, [1, 1, 1, 1]), self.blur.repeat(n, 1, 1, 1), groups=n * c)
        else:
            x = F.conv2d(x, weight.view(n * 8, c, 3, 3), padding=1, groups=n)
        return x.view(n, 8, x.shape[-2], x.shape[-1])


@on((2, 8, 16, 16), (2, 4))
def style_block(up: bool) -> nn.Module:
    return Modulated(up)


class Weighted(nn.Module):
    """Levels joined with learned weights (EfficientDet, Tan et al. 2020)."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(2)) for _ in range(rounds))
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Conv2d(4, 4, 1))
            for _ in range(rounds)
        )

    def forward(self, fine: Tensor) -> Tensor:
        coarse = F.avg_pool2d(fine, 2)
        for weight, conv in zip(self.weights, self.convs, strict=True):
            w = weight.relu()
            w = w / (w.sum() + 1e-4)
            fine = conv(w[0] * fine + w[1] * F.interpolate(coarse, size=fine.shape[2:]))
            coarse = F.max_pool2d(fine, 3, 2, 1)
        return fine


@on((1, 4, 32, 32))
def weighted_pyramid(rounds: int) -> nn.Module:
    return Weighted(rounds)


class Focus(nn.Module):
    """YOLOv5's first layer and a CSP block (Wang et al. 2020): slices become channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = unit(12, width)
        self.left, self.right = nn.Conv2d(width, width // 2, 1), nn.Conv2d(width, width // 2, 1)
        self.inner = nn.Sequential(unit(width // 2, width // 2, 1), unit(width // 2, width // 2))
        self.pools = nn.ModuleList(nn.MaxPool2d(k, 1, k // 2) for k in (5, 9, 13))

    def forward(self, x: Tensor) -> list[Tensor]:
        cut = [x[..., i::2, j::2] for j in range(2) for i in range(2)]
        x = self.conv(torch.cat(cut, 1))
        left = self.left(x)
        y = torch.cat([left + self.inner(left), F.silu(self.right(x), inplace=True)], 1)
        y = torch.cat([y] + [pool(y) for pool in self.pools], 1)
        n, c, h, w = y.shape
        return [y, y.view(n, 4, c // 4, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()]


@on((1, 3, 64, 96))
def detector(width: int) -> nn.Module:
    return Focus(width)


def definitions() -> Iterator[Definition]:
    """All of them."""
    yield from (u_net(depth=d, crops=c) for d in (2, 3, 4) for c in (False, True))
    yield from (feature_pyramid(mode=m) for m in ("nearest", "bilinear", "bicubic", "area"))
    yield from (high_resolution(branches=b) for b in (2, 4))
    yield from (atrous_pyramid(rates=r) for r in ((1, 6, 12, 18), (2, 4)))
    yield from (hourglass(depth=d) for d in (1, 2, 4))
    yield from (seg_net(depth=d) for d in (1, 3))
    yield from (sub_pixel(factor=f, residual=r) for f in (2, 3, 4) for r in (0, 4))
    yield from (generator(norm=n) for n in ("batch", "instance"))
    yield from (style_block(up=u) for u in (False, True))
    yield from (weighted_pyramid(rounds=r) for r in (1, 3))
    yield from (detector(width=w) for w in (8, 16))

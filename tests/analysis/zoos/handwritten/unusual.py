# SPDX-License-Identifier: Apache-2.0
"""Networks written in unusual ways: other dimensions, recurrence, numbers made on the way."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from ..definition import Definition
from .blocks import on, unit


class Gate(nn.Module):
    """WaveNet (van den Oord et al. 2016): causal, dilated, gated, with skips."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = parametrizations.weight_norm(nn.Conv1d(8, 16, 2, dilation=dilation))
        self.out = nn.Conv1d(8, 8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tanh, gate = self.conv(F.pad(x, (self.dilation, 0))).split(8, dim=1)
        y = self.out(tanh.tanh() * gate.sigmoid())
        return x + y, y


class Waves(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 8, 1)
        self.layers = nn.ModuleList(Gate(2**i) for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), 0
        for layer in self.layers:
            x, skip = layer(x)
            total = total + skip
        return F.relu(total)


@on((1, 1, 200))
def wave_net(depth: int) -> nn.Module:
    return Waves(depth)


@on((1, 3, 8, 32, 32))
def video(kind: str) -> nn.Module:
    """C3D, R(2+1)D (Tran et al. 2015, 2018): boxes, or places and then times."""

    def step(inputs: int, outputs: int) -> nn.Module:
        if kind == "box":
            return nn.Conv3d(inputs, outputs, 3, (1, 2, 2), 1)
        return nn.Sequential(
            nn.Conv3d(inputs, outputs, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0)),
        )

    pool = nn.MaxPool3d((2, 2, 2))
    return nn.Sequential(step(3, 8), nn.BatchNorm3d(8), nn.ReLU(), pool, step(8, 16), nn.Flatten(2))


class Pooled(nn.Module):
    """Pools and convolves until little is left: how often depends on the size."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least = least
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        while x.size(2) > self.least:
            x = F.max_pool1d(F.pad(x, (0, 1)), 3, 2)
            x = x + self.conv(F.relu(x))
        return x.flatten(1)


@on((2, 8, 100))
def deep_pyramid(least: int) -> nn.Module:
    return Pooled(least)


class Words(nn.Module):
    """Text as an image of one row (Kim 2014)."""

    def __init__(self, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 12)
        self.convs = nn.ModuleList(nn.Conv2d(1, 6, (k, 12)) for k in kernels)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.embed((x * 10).long()).unsqueeze(1)
        maps = [F.relu(conv(rows)).squeeze(3) for conv in self.convs]
        return torch.cat([F.max_pool1d(m, m.size(2)).squeeze(2) for m in maps], 1)


@on((1, 20))
def text(kernels: tuple[int, ...]) -> nn.Module:
    return Words(kernels)


class Mixture(nn.Module):
    """Dynamic convolution (Chen et al. 2020): kernels mixed for each image by attention."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(experts, 8, 4, 3, 3))
        self.attend = nn.Linear(4, experts)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        share = self.attend(x.mean((-2, -1))).softmax(-1)
        weight = torch.einsum("ne,eoikl->noikl", share, self.weight).reshape(n * 8, c, 3, 3)
        return F.conv2d(x.reshape(1, n * c, h, w), weight, padding=1, groups=n).view(n, 8, h, w)


@on((3, 4, 16, 16))
def dynamic(experts: int) -> nn.Module:
    return Mixture(experts)


class Recurrent(nn.Module):
    """ConvLSTM (Shi et al. 2015) over the frames of a short film."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames, self.gates = frames, nn.Conv2d(3 + 4, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        state = memory = x.new_zeros(x.shape[0], 4, *x.shape[3:])
        for frame in x.unbind(1)[: self.frames]:
            i, f, o, g = self.gates(torch.cat([frame, state], 1)).chunk(4, 1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            state = o.sigmoid() * memory.tanh()
        return state


@on((1, 4, 3, 16, 16))
def film(frames: int) -> nn.Module:
    return Recurrent(frames)


class Answer(NamedTuple):
    scores: Tensor
    features: list[Tensor]


class Checkpointed(nn.Module):
    """Blocks that are computed again in training; the answer is a named tuple."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(unit(4, 4) for _ in range(depth))
        self.head = parametrizations.spectral_norm(nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Answer:
        features = []
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
            features.append(x)
        return Answer(self.head(x.mean((2, 3))), features)


@on((1, 4, 16, 16))
def checkpointed(depth: int) -> nn.Module:
    return Checkpointed(depth)


class Located(nn.Module):
    """CoordConv (Liu et al. 2018) and a spatial transformer (Jaderberg et al. 2015)."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.conv = nn.Conv2d(5, 6, 3, padding=1)
        self.theta = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        rows = torch.linspace(-1, 1, h, device=x.device).view(1, 1, h, 1).expand(n, 1, h, w)
        columns = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, w).expand(n, 1, h, w)
        y = self.conv(torch.cat([x, rows, columns], 1))
        theta = self.theta(y.mean((2, 3))).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(y.size()), align_corners=False)
        return F.grid_sample(y, grid, mode=self.mode, align_corners=False)


@on((2, 3, 24, 24))
def located(mode: str) -> nn.Module:
    return Located(mode)


class Capsules(nn.Module):
    """Routing by agreement (Sabour et al. 2017)."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.conv = nn.Conv2d(1, 32, 9, 2)
        self.weight = nn.Parameter(torch.randn(10, 4 * 36, 16, 8))

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv(x).reshape(x.shape[0], -1, 8)[:, : 4 * 36]
        votes = torch.einsum("ciok,nik->ncio", self.weight, u)
        logits = votes.new_zeros(votes.shape[:3])
        for _ in range(self.rounds):
            s = (logits.softmax(1).unsqueeze(-1) * votes).sum(2)
            v = F.normalize(s, dim=-1) * (1 - 1 / (1 + s.pow(2).sum(-1, keepdim=True)))
            logits = logits + (votes @ v.unsqueeze(-1)).squeeze(-1)
        return v.norm(dim=-1)


@on((1, 1, 28, 28))
def capsules(rounds: int) -> nn.Module:
    return Capsules(rounds)


class Elsewhere(nn.Module):
    """Non-local block (Wang et al. 2018): all places attend to all, in plain products."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.parts = nn.Conv2d(8, 12, 1)
        self.out = nn.Conv2d(4, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        q, k, v = self.parts(x).flatten(2).chunk(3, 1)
        if self.fused:
            y = F.scaled_dot_product_attention(q.mT, k.mT, v.mT).mT
        else:
            y = torch.bmm(v, torch.bmm(q.mT, k).softmax(-1).mT)
        return x + self.out(y.reshape(n, 4, h, w))


@on((1, 8, 12, 10))
def non_local(fused: bool) -> nn.Module:
    return Elsewhere(fused)


class Points(nn.Module):
    """PointNet (Qi et al. 2017): a shared layer for each point, then the greatest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(3, width, 1), nn.ReLU(), nn.Conv1d(width, width, 1))
        self.align = nn.Linear(width, 9)

    def forward(self, x: Tensor) -> Tensor:
        turn = self.align(self.net(x).max(-1)[0]).view(-1, 3, 3)
        return self.net(torch.bmm(x.transpose(2, 1), turn).transpose(2, 1)).amax(-1)


@on((2, 3, 128))
def points(width: int) -> nn.Module:
    return Points(width)


class Functional(nn.Module):
    """No layer modules at all: a dictionary of weights and a list of steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        shapes = {"first": (8, 3, 3, 3)} | {f"step{i}": (8, 8, 3, 3) for i in range(steps)}
        self.w = nn.ParameterDict({k: nn.Parameter(torch.randn(s)) for k, s in shapes.items()})

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        for number, weight in enumerate(self.w.values()):
            x = F.relu_(F.conv2d(x, scale * weight, None, 2 if number == 0 else 1, "valid"))
        return x.sum((2, 3))


@on((1, 3, 40, 40))
def functional(steps: int) -> nn.Module:
    return Functional(steps)


class Wavelets(nn.Module):
    """Fixed Haar filters, as a buffer; levels as deep as the size allows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        haar = torch.tensor([[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]]]) / 2
        self.register_buffer("filters", haar.unsqueeze(1).repeat(channels, 1, 1, 1))
        self.mix = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = []
        while min(x.shape[-2:]) >= 4:
            x = self.mix(F.conv2d(x, self.filters, stride=2, groups=x.shape[1]))
            levels.append(x)
        return levels


@on((1, 2, 33, 47))
def wavelets(channels: int) -> nn.Module:
    return Wavelets(channels)


class Unrolled(nn.Module):
    """One layer used again and again, written in place; a step of gradient descent each time."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.kernel = steps, nn.Parameter(torch.randn(4, 1, 5, 5))
        self.step = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.zeros(x.shape[0], 4, *x.shape[2:], device=x.device)
        for _ in range(self.steps):
            wrong = F.conv_transpose2d(z, self.kernel, padding=2) - x
            z -= self.step * F.conv2d(wrong, self.kernel, padding=2)
            z = F.softshrink(z, 0.1)
        return z


@on((1, 1, 20, 20))
def unrolled(steps: int) -> nn.Module:
    return Unrolled(steps)


def definitions() -> Iterator[Definition]:
    """All of them."""
    yield from (wave_net(depth=d) for d in (3, 6))
    yield from (video(kind=k) for k in ("box", "plane"))
    yield from (deep_pyramid(least=n) for n in (2, 9))
    yield from (text(kernels=k) for k in ((3, 4, 5), (2,)))
    yield from (dynamic(experts=e) for e in (2, 4))
    yield from (film(frames=f) for f in (2, 4))
    yield from (checkpointed(depth=d) for d in (1, 3))
    yield from (located(mode=m) for m in ("bilinear", "nearest"))
    yield from (capsules(rounds=r) for r in (1, 3))
    yield from (non_local(fused=f) for f in (False, True))
    yield from (points(width=w) for w in (8, 16))
    yield from (functional(steps=s) for s in (1, 5))
    yield from (wavelets(channels=c) for c in (2,))
    yield from (unrolled(steps=s) for s in (1, 4))

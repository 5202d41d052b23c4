# SPDX-License-Identifier: Apache-2.0
"""Random networks of one to three axes whose numbers are small integers: every sum is exact."""

import random
from collections.abc import Callable
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 3
Step = Callable[[Tensor], Tensor]

_CONV: list[Any] = [F.conv1d, F.conv2d, F.conv3d]
_TRANSPOSED: list[Any] = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d]
_MAX_POOL: list[Any] = [F.max_pool1d, F.max_pool2d, F.max_pool3d]
_AVG_POOL: list[Any] = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d]
_LINEAR = ["linear", "bilinear", "trilinear"]


def small_integers(x: Tensor) -> Tensor:
    """Any numbers as integers from -8 to 8: place by place, so that nothing is hidden or joined."""
    return torch.remainder(torch.floor(x), 17) - 8


class RandomIntegerNetwork(nn.Module):
    """A few random steps in a row; `words` says which, for the message of a failing test, and
    `grown` how many times more places than the image has a map may have.
    """

    def __init__(self, seed: int, axes: int, steps: int) -> None:
        super().__init__()
        self.random, self.axes = random.Random(seed), axes
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = nn.ParameterList()
        self.words: list[str] = []
        self.grown = 1
        self.steps = [self._step(depth=0) for _ in range(steps)]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = small_integers(step(x))
        return x

    def _step(self, depth: int) -> Step:
        plain = [
            *(self._conv, self._conv, self._depthwise, self._max_pool, self._avg_pool),
            *(self._transposed, self._nearest, self._linear, self._sliced, self._padded),
        ]
        branching = [self._branches, self._down_and_up, self._unshuffled]
        return self.random.choice(plain + (branching if depth == 0 else []))()

    def _weight(self, *shape: int) -> Tensor:
        values = torch.randint(1, 4, shape, generator=self.generator).float()
        signs = torch.randint(0, 2, shape, generator=self.generator) * 2 - 1
        self.weights.append(nn.Parameter(values * signs, requires_grad=False))
        return self.weights[-1]

    def _each(self, choices: list[int]) -> list[int]:
        """One for each axis."""
        return [self.random.choice(choices) for _ in range(self.axes)]

    def _edges(self, choices: list[int]) -> list[int]:
        """Before and after, for each axis."""
        return [self.random.choice(choices) for _ in range(2 * self.axes)]

    def _say(self, words: str) -> None:
        self.words.append(words)

    def _conv(self) -> Step:
        kernel, stride = self._each([1, 2, 3, 4, 5]), self._each([1, 1, 1, 2, 3])
        dilation, edges = self._each([1, 1, 2, 3]), self._edges([0, 1, 2])
        mode = self.random.choice(["constant", "constant", "reflect", "replicate"])
        weight = self._weight(CHANNELS, CHANNELS, *kernel)
        bias, conv = self._weight(CHANNELS), _CONV[self.axes - 1]
        self._say(f"conv {kernel} stride {stride} dilation {dilation} {mode} pad {edges}")
        return lambda x: conv(
            F.pad(x, edges, mode=mode), weight, bias, stride=stride, dilation=dilation
        )

    def _depthwise(self) -> Step:
        kernel, padding = self._each([2, 3]), self._each([0, 1])
        weight, bias = self._weight(CHANNELS, 1, *kernel), self._weight(CHANNELS)
        conv = _CONV[self.axes - 1]
        self._say(f"depthwise {kernel} padding {padding}")
        return lambda x: conv(x, weight, bias, padding=padding, groups=CHANNELS)

    def _max_pool(self) -> Step:
        kernel, stride = self._each([2, 3]), self._each([1, 2, 3])
        padding, ceil_mode = self._each([0, 1]), self.random.random() < 0.5
        pool = _MAX_POOL[self.axes - 1]
        self._say(f"max pool {kernel} stride {stride} padding {padding} ceil_mode {ceil_mode}")
        return lambda x: pool(x, kernel, stride, padding, ceil_mode=ceil_mode)

    def _avg_pool(self) -> Step:
        kernel, stride, padding = self._each([2, 3]), self._each([1, 2, 3]), self._each([0, 1])
        ceil_mode, counts_padding = self.random.random() < 0.5, self.random.random() < 0.5
        pool = _AVG_POOL[self.axes - 1]
        self._say(
            f"average pool {kernel} stride {stride} padding {padding} ceil_mode {ceil_mode} "
            f"count_include_pad {counts_padding}"
        )
        return lambda x: pool(4 * x, kernel, stride, padding, ceil_mode, counts_padding)

    def _transposed(self) -> Step:
        kernel, stride = self._each([1, 2, 3, 4]), self._each([1, 2, 3])
        padding, dilation = self._each([0, 1]), self._each([1, 1, 2])
        added = [self.random.randrange(s) for s in stride]
        self.grown *= prod(stride)
        weight, bias = self._weight(CHANNELS, CHANNELS, *kernel), self._weight(CHANNELS)
        conv = _TRANSPOSED[self.axes - 1]
        self._say(f"transposed {kernel} stride {stride} padding {padding} + {added} x {dilation}")
        return lambda x: conv(x, weight, bias, stride, padding, added, 1, dilation)

    def _nearest(self) -> Step:
        factor = self.random.choice([2, 4])
        self.grown *= factor**self.axes
        self._say(f"nearest x{factor}")
        return lambda x: F.interpolate(x, scale_factor=factor)

    def _linear(self) -> Step:
        mode = _LINEAR[self.axes - 1]
        scale = 4**self.axes
        self.grown *= 2**self.axes
        self._say(f"{mode} x2")
        return lambda x: F.interpolate(scale * x, scale_factor=2, mode=mode)

    def _sliced(self) -> Step:
        start, step = self.random.choice([0, 1, 2]), self.random.choice([1, 1, 2])
        self._say(f"[{start}::{step}]")
        return lambda x: x[..., start::step]

    def _padded(self) -> Step:
        edges = self._edges([-3, -1, 0, 1, 3])
        self._say(f"pad {edges} with 5")
        return lambda x: F.pad(x, edges, value=5.0)

    def _same(self) -> Step:
        kernel, dilation = self._each([1, 2, 3, 4]), self._each([1, 2])
        edges: list[int] = []
        for k, d in zip(kernel, dilation, strict=True):
            before = self.random.randint(0, d * (k - 1))
            edges = [before, d * (k - 1) - before, *edges]
        weight, conv = self._weight(CHANNELS, CHANNELS, *kernel), _CONV[self.axes - 1]
        self._say(f"conv {kernel} dilation {dilation} pad {edges}")
        return lambda x: conv(F.pad(x, edges), weight, dilation=dilation)

    def _branches(self) -> Step:
        self._say("(")
        left, right = self._same(), self._same()
        self._say(") added to the input")
        return lambda x: x + left(x) - torch.relu(right(x))

    def _down_and_up(self) -> Step:
        """A U: what came before is cut to what comes back, as its sizes may be odd."""
        self._say("(")
        down, inner = self._max_pool_by_two(), self._same()
        self._say(") up and beside the input")
        weight, conv = self._weight(CHANNELS, 2 * CHANNELS, *[1] * self.axes), _CONV[self.axes - 1]

        def step(x: Tensor) -> Tensor:
            up = F.interpolate(small_integers(inner(down(x))), scale_factor=2)
            sizes = [min(a, b) for a, b in zip(x.shape[2:], up.shape[2:], strict=True)]
            cut = (slice(None), slice(None), *(slice(0, size) for size in sizes))
            return conv(torch.cat([x[cut], up[cut]], 1), weight)

        return step

    def _max_pool_by_two(self) -> Step:
        pool = _MAX_POOL[self.axes - 1]
        return lambda x: pool(x, 2)

    def _unshuffled(self) -> Step:
        """Places become channels, are mixed, and become places again, along the last axis."""
        self._say("pairs of places mixed")
        weight = self._weight(2 * CHANNELS, 2 * CHANNELS, *[1] * self.axes)
        conv = _CONV[self.axes - 1]

        def step(x: Tensor) -> Tensor:
            x = x[..., : x.shape[-1] // 2 * 2]
            pairs = x.unflatten(-1, (x.shape[-1] // 2, 2)).movedim(-1, 2)
            mixed = conv(pairs.flatten(1, 2), weight).unflatten(1, (CHANNELS, 2))
            return mixed.movedim(2, -1).flatten(-2)

        return step

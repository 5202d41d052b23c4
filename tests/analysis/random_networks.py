# SPDX-License-Identifier: Apache-2.0
"""Random networks of one axis that hold every habit of real ones, for the NaN probe."""

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 4
Step = Callable[[Tensor], Tensor]


class RandomNetwork(nn.Module):
    """A few random steps in a row; `words` says which, for the message of a failing test."""

    def __init__(self, seed: int, steps: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.weights = nn.ParameterList()
        self.words: list[str] = []
        self.steps = [self._step(depth=0) for _ in range(steps)]

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x

    def _weight(self, *shape: int) -> Tensor:
        self.weights.append(nn.Parameter(torch.rand(shape, dtype=torch.float64) + 0.1))
        return self.weights[-1]

    def _say(self, words: str) -> None:
        self.words.append(words)

    def _step(self, depth: int) -> Step:
        plain = [
            *(self._conv, self._conv, self._dilated, self._strided, self._transposed),
            *(self._pool, self._nearest, self._linear, self._sliced, self._shuffled),
            *(self._norm, self._padded, self._same, self._windows, self._unfolded),
        ]
        branching = [self._skip, self._branches, self._down_and_up, self._local_attention]
        return self.random.choice(plain + (branching * 2 if depth == 0 else []))()

    def _conv(self) -> Step:
        k, p = self.random.choice([1, 2, 3, 3, 5]), self.random.choice([0, 1, 2])
        w = self._weight(CHANNELS, CHANNELS, k)
        self._say(f"conv {k} padding {p}")
        return lambda x: F.conv1d(x, w, padding=p)

    def _dilated(self) -> Step:
        k, d = self.random.choice([2, 3]), self.random.choice([2, 3, 4])
        w = self._weight(CHANNELS, CHANNELS, k)
        self._say(f"conv {k} dilation {d}")
        return lambda x: F.conv1d(x, w, padding=d, dilation=d)

    def _strided(self) -> Step:
        k, s, p = self.random.choice([1, 2, 3, 4]), self.random.choice([2, 3]), 1
        w = self._weight(CHANNELS, 1, k)
        self._say(f"depthwise conv {k} stride {s} padding {p}")
        return lambda x: F.conv1d(x, w, stride=s, padding=p, groups=CHANNELS)

    def _transposed(self) -> Step:
        k, s = self.random.choice([1, 2, 3, 4, 5]), self.random.choice([1, 2, 3])
        p, d = self.random.choice([0, 1]), self.random.choice([1, 1, 2])
        w = self._weight(CHANNELS, CHANNELS, k)
        self._say(f"transposed {k} stride {s} padding {p} dilation {d}")
        return lambda x: F.conv_transpose1d(x, w, stride=s, padding=p if k > 1 else 0, dilation=d)

    def _pool(self) -> Step:
        k, s = self.random.choice([2, 3]), self.random.choice([1, 2, 3])
        p, ceil = self.random.choice([0, 1]), self.random.random() < 0.5
        if self.random.random() < 0.5:
            self._say(f"max pool {k} stride {s} padding {p} ceil {ceil}")
            return lambda x: F.max_pool1d(x, k, s, p, ceil_mode=ceil)
        self._say(f"average pool {k} stride {s} padding {p} ceil {ceil}")
        return lambda x: F.avg_pool1d(x, k, s, p, ceil_mode=ceil)

    def _nearest(self) -> Step:
        times = self.random.choice([2, 3])
        self._say(f"nearest x{times}")
        return lambda x: F.interpolate(x, scale_factor=times)

    def _linear(self) -> Step:
        self._say("linear x2")
        return lambda x: F.interpolate(x, scale_factor=2, mode="linear")

    def _sliced(self) -> Step:
        start, step = self.random.choice([0, 1, 2]), self.random.choice([1, 2])
        self._say(f"[{start}::{step}]")
        return lambda x: x[:, :, start::step]

    def _shuffled(self) -> Step:
        self._say("places to channels, mixed, and back")
        w = self._weight(2 * CHANNELS, 2 * CHANNELS, 1)

        def step(x: Tensor) -> Tensor:
            n, c, length = x.shape
            x = x[:, :, : length // 2 * 2].reshape(n, c, length // 2, 2)
            x = F.conv1d(x.transpose(2, 3).reshape(n, 2 * c, length // 2), w)
            return x.reshape(n, c, 2, length // 2).transpose(2, 3).flatten(2)

        return step

    def _norm(self) -> Step:
        self._say("batch norm, relu, layer norm over channels")

        def step(x: Tensor) -> Tensor:
            x = F.batch_norm(x, torch.zeros(CHANNELS).double(), torch.ones(CHANNELS).double())
            return F.layer_norm(x.relu().transpose(1, 2), [CHANNELS]).transpose(1, 2)

        return step

    def _padded(self) -> Step:
        before, after = self.random.choice([0, 1, 3]), self.random.choice([-1, 0, 2])
        mode = self.random.choice(["constant", "replicate"])
        self._say(f"{mode} pad {before} {after}")
        return lambda x: F.pad(x, (before, after), mode=mode)

    def _same(self) -> Step:
        k, d = self.random.choice([2, 3, 4]), self.random.choice([1, 2])
        w = self._weight(CHANNELS, CHANNELS, k)
        self._say(f"conv {k} 'same' dilation {d}")
        return lambda x: F.conv1d(
            F.pad(x, ((k - 1) * d // 2, k * d - d - (k - 1) * d // 2)), w, dilation=d
        )

    def _windows(self) -> Step:
        self._say("softmax within windows of 4")

        def step(x: Tensor) -> Tensor:
            n, c, length = x.shape
            x = x[:, :, : length // 4 * 4].reshape(n, c, length // 4, 4)
            return x.softmax(-1).flatten(2)

        return step

    def _unfolded(self) -> Step:
        self._say("unfold 3, weighted sum")
        w = self._weight(1, CHANNELS, 3, 1)

        def step(x: Tensor) -> Tensor:
            columns = F.unfold(x[:, :, :, None], (3, 1), padding=(1, 0))
            return (columns.reshape(len(x), CHANNELS, 3, -1) * w).sum(2)

        return step

    def _skip(self) -> Step:
        inner = self._same()
        self._say("... added to its input")
        return lambda x: inner(x) + x

    def _branches(self) -> Step:
        left, right = self._same(), self._same()
        w = self._weight(CHANNELS, 2 * CHANNELS, 1)
        self._say("... both joined and mixed")
        return lambda x: F.conv1d(torch.cat([left(x), right(x)], 1), w)

    def _down_and_up(self) -> Step:
        inner = self._same()
        self._say("... at half the size, and back up beside its input")

        def step(x: Tensor) -> Tensor:
            x = x[:, :, : x.shape[-1] // 2 * 2]
            return F.interpolate(inner(F.avg_pool1d(x, 2)), scale_factor=2) + x

        return step

    def _local_attention(self) -> Step:
        self._say("attention within windows of 3")

        def step(x: Tensor) -> Tensor:
            n, c, length = x.shape
            x = x[:, :, : length // 3 * 3].reshape(n, c, length // 3, 3).permute(0, 2, 3, 1)
            x = F.scaled_dot_product_attention(x, x, x)
            return x.permute(0, 3, 1, 2).reshape(n, c, -1)

        return step

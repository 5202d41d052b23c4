# SPDX-License-Identifier: Apache-2.0
"""The ways to compute a chain on this machine, and how long each takes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from math import ceil, inf
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from convsmith import native
from convsmith.native.chains import (
    Chain,
    ChainCall,
    ChainKernel,
    by_torch,
    chain_kernels,
    image_shape,
    options_of,
    with_axes,
)
from convsmith.rewrite.planning.plan import TORCH, TORCH_CONTIGUOUS

_LEAST_ROUNDS, _MOST_ROUNDS = 3, 41
_BLOCK_S = 0.0005
# What is so many times slower than the best when warm need not take further turns.
_HOPELESS = 3
_LAST = torch.channels_last
# More than a processor's second cache holds, and copies that fill it: more of them would read no
# slower.
_BEYOND_CACHE, _MOST_COPIES = 4 << 20, 16


@dataclass(frozen=True)
class Problem:
    """A chain at one input shape; `is_contiguous` where the caller gives x so."""

    chain: Chain
    shape: tuple[int, ...]
    is_contiguous: bool = False

    @property
    def images(self) -> tuple[int, ...]:
        """The input's shape with two spatial axes."""
        return image_shape(self.shape)


def serving(problem: Problem, *, math: str) -> list[ChainKernel]:
    """The kernels that may compute it: with "strict" math, only those that sum directly."""
    if not native.available():
        return []
    return [
        kernel
        for kernel in chain_kernels().values()
        if (kernel.is_direct or math == "fast") and kernel.serves(problem.chain, problem.images)
    ]


def measured(
    problem: Problem,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    *,
    math: str,
    budget_s: float,
    network_bytes: int = 0,
    earlier: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Milliseconds of each candidate: the median over rounds in which all take their turn.

    Torch is a candidate for single convolutions only; in a longer chain it would compute one behind
    the other, which the planner adds up by itself.

    Args:
        network_bytes: Of all weights of the network. Between two calls of a layer those of the
            others drive its own out of the caches, and what reads less of them wins; here copies
            of its own do.
        earlier: Times of these candidates from before. The lower one counts: a neighbour slows a
            machine for seconds, and would decide between problems that are timed in turn.
    """
    before = earlier or {}
    copies = [
        weights,
        *([w.detach().clone() for w in weights] for _ in range(_more(weights, network_bytes))),
    ]
    hopeless = _HOPELESS * min(before.values(), default=inf)
    calls = {
        name: call
        for name, call in _calls(problem, copies, biases, math).items()
        if before.get(name, 0.0) <= hopeless
    }
    if not calls:
        return dict(before)
    with torch.inference_mode():
        for call in calls.values():
            _seconds(call, len(copies))  # packs them
        single = {name: _seconds(call, 1) for name, call in calls.items()}
        best = min(single.values())
        racing = [name for name in calls if single[name] <= _HOPELESS * best]
        repeats = {name: max(1, ceil(_BLOCK_S / max(single[name], 1e-7))) for name in racing}
        round_s = sum(single[name] * (1 + repeats[name]) for name in racing)
        rounds = min(_MOST_ROUNDS, max(_LEAST_ROUNDS, int(budget_s / round_s)))
        seconds: dict[str, list[float]] = {name: [] for name in racing}
        for turn in range(rounds):
            for name in racing if turn % 2 == 0 else reversed(racing):
                calls[name]()  # finds its weights and the processor's memory of branches again
                seconds[name].append(_seconds(calls[name], repeats[name]))
    now = {name: 1e3 * median(seconds.get(name, [single[name]])) for name in calls}
    return {**before, **{name: min(ms, before.get(name, inf)) for name, ms in now.items()}}


def _seconds(call: Callable[[], Tensor], repeats: int) -> float:
    start = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - start) / repeats


def _more(weights: Sequence[Tensor], network_bytes: int) -> int:
    """How many copies of the weights stand for the rest of the network's."""
    own = max(1, sum(weight.nbytes for weight in weights))
    return min(_MOST_COPIES, ceil(min(network_bytes, _BEYOND_CACHE) / own)) - 1


def _calls(
    problem: Problem,
    copies: Sequence[Sequence[Tensor]],
    biases: Sequence[Tensor | None],
    math: str,
) -> dict[str, Callable[[], Tensor]]:
    """Each candidate by name, bound to an input of its own making; the weights take turns."""
    chain, generator, axes = problem.chain, torch.Generator().manual_seed(0), len(problem.shape)

    def drawn(images: tuple[int, ...]) -> Tensor:
        return torch.randn(images, generator=generator).contiguous(memory_format=_LAST)

    last = with_axes(drawn(problem.images), axes)
    given = last.contiguous() if problem.is_contiguous else last
    residual = None
    if chain.has_residual:
        residual = with_axes(drawn(chain.output_shape(problem.images)), axes)
    calls: dict[str, Callable[[], Tensor]] = {}
    for kernel in serving(problem, math=math):
        calls[kernel.name] = _in_turns(
            partial(ChainCall(kernel, chain), given, weights, biases, residual)
            for weights in copies
        )
    if len(chain.stages) == 1:
        options = options_of(chain)
        plain = [[w.detach() for w in weights] for weights in copies]
        laid = plain
        if axes == 4:
            laid = [[w.contiguous(memory_format=_LAST) for w in weights] for weights in plain]
            calls[TORCH_CONTIGUOUS] = _in_turns(
                partial(_by_torch_contiguous, given, weights, biases, residual, *options)
                for weights in plain
            )
        calls[TORCH] = _in_turns(
            partial(by_torch, given, weights, biases, residual, *options) for weights in laid
        )
    return calls


def _in_turns(calls: Iterable[Callable[[], Tensor]]) -> Callable[[], Tensor]:
    turns = cycle(list(calls))
    return lambda: next(turns)()


def _by_torch_contiguous(given: Tensor, *rest: Any) -> Tensor:
    return by_torch(given.contiguous(), *rest)

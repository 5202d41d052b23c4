# SPDX-License-Identifier: Apache-2.0
"""How much a kernel rounds, on its layers' own weights and input.

error = ||y - y64|| / ||y64||        y64 = the same convolutions in float64
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from convsmith.native.chains import Chain, ChainKernel, Stage, by_torch, options_of, run_chain

# What a kernel that does not sum directly may have.
MOST_ERROR = 1e-5


@dataclass(frozen=True)
class Rounding:
    """How far a result is from float64: relative L2, and the largest difference of one number."""

    relative: float
    largest: float


@dataclass(frozen=True)
class Roundings:
    """Of some kernels by name, and of torch's direct sum beside them."""

    kernels: dict[str, Rounding] = field(default_factory=dict)
    torch: Rounding = Rounding(0.0, 0.0)


def roundings(
    stages: Sequence[Stage],
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    kernels: Sequence[ChainKernel],
) -> Roundings:
    """Of the last sums alone, before their bias and activation, for the first image."""
    chain = Chain((*stages[:-1], replace(stages[-1], activation="none")))
    x = x[:1].contiguous(memory_format=torch.channels_last)
    options, biases = options_of(chain), [*biases[:-1], None]
    exact = by_torch(
        x.double(),
        [w.double() for w in weights],
        [None if b is None else b.double() for b in biases],
        None,
        *options,
    )
    norm = float(exact.norm()) or 1.0

    def rounding(y: Tensor) -> Rounding:
        difference = y.double() - exact
        return Rounding(float(difference.norm()) / norm, float(difference.abs().max()))

    found = {}
    for kernel in kernels:
        found[kernel.name] = rounding(run_chain(kernel, chain, x, weights, biases))
    return Roundings(found, rounding(by_torch(x, weights, biases, None, *options)))

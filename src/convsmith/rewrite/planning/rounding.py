# SPDX-License-Identifier: Apache-2.0
"""How much a kernel rounds, on a layer's own weights and input.

error = ||y - y64|| / ||y64||        y64 = the same convolution in float64
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


def roundings(stage: Stage, x: Tensor, weight: Tensor, kernels: Sequence[ChainKernel]) -> Roundings:
    """Of the sums alone, before bias and activation, for the first image."""
    chain = Chain((replace(stage, activation="none"),))
    x = x[:1].contiguous(memory_format=torch.channels_last)
    options = options_of(chain)
    exact = by_torch(x.double(), [weight.double()], [None], None, *options)
    norm = float(exact.norm()) or 1.0

    def rounding(y: Tensor) -> Rounding:
        difference = y.double() - exact
        return Rounding(float(difference.norm()) / norm, float(difference.abs().max()))

    found = {}
    for kernel in kernels:
        found[kernel.name] = rounding(run_chain(kernel, chain, x, [weight], [None]))
    return Roundings(found, rounding(by_torch(x, [weight], [None], None, *options)))

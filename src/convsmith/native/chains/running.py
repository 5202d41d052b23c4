# SPDX-License-Identifier: Apache-2.0
"""Chains that stand alone: programs of one step."""

import weakref
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from convsmith.native.chains.chain import Chain
from convsmith.native.chains.kernel import ChainKernel
from convsmith.native.chains.program import Program
from convsmith.native.chains.steps import ChainStep


class ChainCall:
    """One chain, ready to run: its packed weights, and the integers of each size.

    Safe to call from several threads.
    """

    def __init__(self, kernel: ChainKernel, chain: Chain) -> None:
        step = ChainStep(kernel, chain, x=0, residual=1 if chain.has_residual else None)
        num_inputs = 2 if chain.has_residual else 1
        self._program = Program([step], num_inputs, outputs=[num_inputs])

    def __call__(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        residual: Tensor | None = None,
    ) -> Tensor:
        """The chain's formula, as `Program` has it; residual just where the chain has one.

        Returns:
            Shape (N, O, H', W'), channels last, or with fewer axes where x has them.

        Raises:
            ArgumentError: if a residual is missing, or one too many.
            ShapeError: if a weight, a bias or the residual does not fit.
        """
        inputs = [x] if residual is None else [x, residual]
        return self._program(inputs, weights, biases)[0]


def run_chain(
    kernel: ChainKernel,
    chain: Chain,
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    residual: Tensor | None = None,
) -> Tensor:
    """One run, on weights that are packed for it; a residual makes it a chain that has one."""
    chain = replace(chain, has_residual=residual is not None)
    return ChainCall(kernel, chain)(x, weights, biases, residual)


_calls: dict[tuple[int, str, Chain], tuple[weakref.ref[Tensor], ChainCall]] = {}


def call_for(kernel: ChainKernel, chain: Chain, first_weight: Tensor) -> ChainCall:
    """The call that belongs to a weight and dies with it, for who keeps none of his own."""
    place = (id(first_weight), kernel.name, chain)
    known = _calls.get(place)
    if known is None or known[0]() is not first_weight:
        reference = weakref.ref(first_weight, lambda _: _calls.pop(place, None))
        known = _calls[place] = (reference, ChainCall(kernel, chain))
    return known[1]

# SPDX-License-Identifier: Apache-2.0
"""Calls of a chain kernel: addresses and integers into the core.

Packed weights are used only while every weight still has the address, shape, strides and version
counter that they were made from, and the same values at 16 places spread over it: what torch counts
is always seen, and so is a write to a whole tensor that passes its counters by
(`weight.data.copy_(...)`). A write through `.data` or numpy to a few numbers of a weight is not.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from convsmith.errors import ShapeError
from convsmith.native.chains.chain import Chain
from convsmith.native.chains.kernel import ChainKernel
from convsmith.native.core import index_of, run_numbered, sampled_fingerprint
from convsmith.native.layout import CHANNELS_LAST

_LAST = CHANNELS_LAST[4]
_MOST_SIZES = 256
_Sizes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class ChainCall:
    """One chain of one network, ready to run: its packed weights, and the integers of each size.

    Safe to call from several threads: what it keeps is replaced whole.
    """

    def __init__(self, kernel: ChainKernel, chain: Chain) -> None:
        self.kernel, self.chain = kernel, chain
        self.index = index_of(kernel.function)
        self._packed: tuple[object, Sequence[Tensor]] = (None, ())
        self._sizes: dict[tuple[tuple[int, ...], tuple[int, ...]], _Sizes] = {}

    def __call__(
        self,
        x: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        residual: Tensor | None = None,
    ) -> Tensor:
        """The chain's formula.

        Args:
            x: Shape (N, C, H, W), float32 on the CPU, any strides; the kernel serves this shape.
            weights: As torch has them, float32.
            biases: One for each stage, or None.
            residual: Shape of the result, or None.

        Returns:
            Shape (N, O, H', W'), channels last.

        Raises:
            ShapeError: if a weight, a bias or the residual does not fit.
        """
        state = [_state(weight) for weight in weights]
        known, packed = self._packed
        if known != state:
            self._check(weights)
            plain = [w.detach().contiguous() for w in weights]
            packed = self.kernel.pack(self.chain, plain)
            self._packed = (state, packed)
        return self.on_packed(x, packed, biases, residual)

    def on_packed(
        self,
        x: Tensor,
        packed: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        residual: Tensor | None = None,
    ) -> Tensor:
        """The same for weights that `kernel.pack` gave."""
        if not self.kernel.takes_any_strides and x.stride(1) != 1:
            x = x.contiguous(memory_format=_LAST)
        shape, strides, integers = self._sizes_of(x)
        y = torch.empty_strided(shape, strides)
        row = [x.data_ptr()]
        keep = []  # a copy must live until the kernel has run
        for tensor, bias, stage in zip(packed, biases, self.chain.stages, strict=True):
            row.append(tensor.data_ptr())
            if bias is None:
                row.append(0)
                continue
            if bias.shape != (stage.geometry.out_channels,) or not _is_float_on_cpu(bias):
                raise ShapeError(
                    f"convolutions: a bias has shape {tuple(bias.shape)}, {bias.dtype}, on "
                    f"{bias.device}; it has one float32 on the CPU for each of the "
                    f"{stage.geometry.out_channels} output channels."
                )
            keep.append(bias.contiguous())
            row.append(keep[-1].data_ptr())
        row.append(0 if residual is None else self._laid_as(y, residual, keep))
        run_numbered(self.index, (*row, y.data_ptr(), *integers, torch.get_num_threads()))
        return y

    def _check(self, weights: Sequence[Tensor]) -> None:
        for weight, g in zip(weights, self.chain.geometries, strict=True):
            expected = (g.out_channels, g.in_channels // g.groups, *g.kernel_size)
            if weight.shape != expected or not _is_float_on_cpu(weight):
                raise ShapeError(
                    f"convolutions: a weight has shape {tuple(weight.shape)}, {weight.dtype}, on "
                    f"{weight.device}; it was planned as {expected}, float32, on the CPU; plan the "
                    "network again."
                )

    def _laid_as(self, y: Tensor, residual: Tensor, keep: list[Tensor]) -> int:
        if residual.shape != y.shape or not _is_float_on_cpu(residual):
            raise ShapeError(
                f"convolutions: the residual has shape {tuple(residual.shape)}, {residual.dtype}, "
                f"on {residual.device}; it is added to a float32 result of shape {tuple(y.shape)}."
            )
        keep.append(
            residual if residual.stride() == y.stride() else torch.empty_like(y).copy_(residual)
        )
        return keep[-1].data_ptr()

    def _sizes_of(self, x: Tensor) -> _Sizes:
        """The output's shape and strides, and the kernel's integers: they depend on x's alone."""
        key = x.shape, x.stride()
        sizes = self._sizes.get(key)
        if sizes is None:
            shape = self.chain.output_shape(x.shape)
            c, h, w = shape[1:]
            integers = self.kernel.integers(self.chain, tuple(x.shape), x.stride())
            if len(self._sizes) >= _MOST_SIZES:
                self._sizes = {}
            sizes = self._sizes[key] = (shape, (h * w * c, 1, w * c, c), integers)
        return sizes


def _is_float_on_cpu(t: Tensor) -> bool:
    return t.dtype is torch.float32 and t.is_cpu


def _state(weight: Tensor) -> tuple[object, ...]:
    version = 0 if weight.is_inference() else weight._version
    is_dense = weight.is_contiguous() or weight.is_contiguous(memory_format=_LAST)
    sample = sampled_fingerprint(weight) if is_dense else None
    return weight.data_ptr(), version, weight.shape, weight.stride(), sample


def run_chain(
    kernel: ChainKernel,
    chain: Chain,
    x: Tensor,
    packed: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    residual: Tensor | None = None,
) -> Tensor:
    """One run on weights that are packed already; see `ChainCall`."""
    return ChainCall(kernel, chain).on_packed(x, packed, biases, residual)


_calls: dict[tuple[int, str, Chain], tuple[weakref.ref[Tensor], ChainCall]] = {}


def call_for(kernel: ChainKernel, chain: Chain, first_weight: Tensor) -> ChainCall:
    """The call that belongs to a weight and dies with it, for who keeps none of his own."""
    place = (id(first_weight), kernel.name, chain)
    known = _calls.get(place)
    if known is None or known[0]() is not first_weight:
        reference = weakref.ref(first_weight, lambda _: _calls.pop(place, None))
        known = _calls[place] = (reference, ChainCall(kernel, chain))
    return known[1]

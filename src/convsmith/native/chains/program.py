# SPDX-License-Identifier: Apache-2.0
"""Steps that feed each other, prepared as rows of integers and run by one call into the core.

What lies between two steps stays in memory that the program keeps: fresh memory costs a page fault
every 4 KB, and a call from Python for each step costs as much as a small one takes. Only the
program's results are new tensors.

Packed weights are used only while every weight still has the address, shape, strides and version
counter that they were made from, and the same values at 16 places spread over it: what torch counts
is always seen, and so is a write to a whole tensor that passes its counters by
(`weight.data.copy_(...)`). A write through `.data` or numpy to a few numbers of a weight is not.
"""

from array import array
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

import torch
from torch import Tensor

from convsmith.errors import ArgumentError, ShapeError
from convsmith.native.chains.axes import as_images, image_shape
from convsmith.native.chains.chain import Chain
from convsmith.native.chains.kernel import Ints
from convsmith.native.chains.memory import Lifetime, lay_out
from convsmith.native.chains.shelf import Shelf
from convsmith.native.chains.steps import Address, ChainStep, Step
from convsmith.native.core import (
    Prepared,
    index_of,
    layouts,
    prepared,
    run_rows,
    sampled_fingerprints,
    states,
)
from convsmith.native.layout import CHANNELS_LAST
from convsmith.native.pages import new_memory, side_by_side

_LAST = CHANNELS_LAST[4]

# What a program keeps between two calls: rows and memory for so many sizes of inputs, or callers
# at once, and so many bytes of memory in all. Beyond, the page faults of fresh memory disappear
# beside what is computed in it.
_MOST_KEPT, _MOST_BYTES = 8, 256 << 20

_NO_HEADERS = array("q")

_Key = tuple[int, bytes]  # the number of threads, and the layouts of the inputs


@dataclass(frozen=True)
class _Ready:
    """The rows of one size of inputs, and the memory between the steps."""

    rows: "array[int]"
    patches: "array[int]"  # place in rows, which of the inputs and results; and so on
    results: Sequence[tuple[Ints, Ints]]  # shape and strides
    memory: Tensor
    laid_anew: frozenset[int]  # inputs that a kernel reads in channels last alone

    @property
    def can_be_kept_apart(self) -> bool:
        """Whether it may be `Program.direct`'s: of inputs as they are, and no large memory."""
        return not self.laid_anew and self.memory.nbytes <= _MOST_BYTES // 4

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if self.laid_anew:
            inputs = [_laid_last(x) if i in self.laid_anew else x for i, x in enumerate(inputs)]
        results = [torch.empty_strided(shape, strides) for shape, strides in self.results]
        run_rows(self.rows, self.patches, [*inputs, *results])
        return results


@dataclass(frozen=True)
class _Packed:
    """The weights as the kernels read them, what they were made from, and rows that name them."""

    state: bytes | None  # None where a bias is read through a copy, which is made at every call
    samples: "array[int]"  # (address, count) of each weight that lies without gaps
    fingerprint: int
    addresses: Sequence[Sequence[int]]  # of each step: weight, bias, weight, bias, ...
    kept: Sequence[Tensor]  # whose addresses these are
    headers: "array[int]"  # cache lines in which torch keeps what the state is made of
    ready: Shelf[_Ready] = field(
        default_factory=lambda: Shelf(most=_MOST_KEPT, most_bytes=_MOST_BYTES)
    )

    def is_fresh(self, state: bytes) -> bool:
        return self.state == state and self.fingerprint == sampled_fingerprints(self.samples)


class Program:
    """Steps that read the inputs and each other's results.

    Safe to call from several threads: each takes rows and memory that no other uses.

    Args:
        steps: In an order in which each reads what is there already.
        num_inputs: How many values are given.
        outputs: Numbers of the values that are wanted, none of them an input.
    """

    def __init__(self, steps: Sequence[Step], num_inputs: int, outputs: Sequence[int]) -> None:
        self.steps, self.num_inputs, self.outputs = tuple(steps), num_inputs, tuple(outputs)
        self.direct: Prepared | None = None  # for who calls twice in a row with the same sizes
        self._directly: tuple[_Key, _Packed, _Ready] | None = None  # what that runs
        self._last: _Key | None = None
        self._lock = Lock()
        self._packed: _Packed | None = None
        self._served: set[bytes] = set()
        # Inputs that have to lie in channels last, without gaps.
        self._laid_last = {value for step in steps for value in step.reads_last}

    def __call__(
        self,
        inputs: Sequence[Tensor],
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
    ) -> list[Tensor]:
        """The steps' formulas.

        Args:
            inputs: Shape (N, C, H, W), (N, C, L) or (N, C), float32 on the CPU, any strides; the
                program `serves` them.
            weights: Of all stages of all steps, as torch has them, float32.
            biases: One for each weight, or None.

        Returns:
            The outputs, channels last, each with as many axes as its step gives it.

        Raises:
            ArgumentError: if another number of inputs is given.
            ShapeError: if a weight, a bias or a residual does not fit.
        """
        if len(inputs) != self.num_inputs:
            raise ArgumentError(
                f"convolutions: {len(inputs)} inputs were given to chains that read "
                f"{self.num_inputs}; give a residual just where the chain has one."
            )
        state = states([*weights, *biases])
        return self.run(inputs, layouts(inputs), state, lambda: (weights, biases))

    def run(
        self,
        inputs: Sequence[Tensor],
        sizes: bytes,
        state: bytes,
        find: Callable[[], tuple[Sequence[Tensor], Sequence[Tensor | None]]],
        paths: tuple[tuple[str, ...], ...] | None = None,
    ) -> list[Tensor]:
        """The same, for who knows the layouts of the inputs and the states of all weights, then of
        all biases; these are asked for if they have changed.

        Args:
            paths: Where a module has all weights, then all biases: `direct` is then made for it,
                when the same sizes come a second time.
        """
        packed = self._packed
        if packed is None or not packed.is_fresh(state):
            packed = self._packed = self._pack(state, *find())
        key = torch.get_num_threads(), sizes
        ready = packed.ready.take(key) or self._prepare(packed, inputs)
        results = ready.run(inputs)
        is_known = packed.state is not None and ready.can_be_kept_apart
        if key == self._last and paths is not None and is_known:
            self._go_directly(key, packed, ready, paths)
        else:
            packed.ready.put(key, ready, ready.memory.nbytes)
        self._last = key
        return results

    def _go_directly(
        self, key: _Key, packed: _Packed, ready: _Ready, paths: tuple[tuple[str, ...], ...]
    ) -> None:
        """Give these rows to `direct`, and what it had back to the others."""
        threads, sizes = key
        assert packed.state is not None  # else nothing would tell that they fit
        made = prepared(
            sizes,
            packed.state,
            paths,
            packed.headers,
            packed.samples,
            packed.fingerprint,
            threads,
            ready.rows,
            ready.patches,
            ready.results,
            (packed, ready),
        )
        with self._lock:
            before, had = self.direct, self._directly
            self.direct, self._directly = made, (key, packed, ready)
        if before is not None and had is not None and before.retire():
            its_key, its_packed, its_ready = had
            its_packed.ready.put(its_key, its_ready, its_ready.memory.nbytes)

    @property
    def headers(self) -> "array[int]":
        """Where torch keeps what the weights' states are made of."""
        return _NO_HEADERS if self._packed is None else self._packed.headers

    def serves(self, inputs: Sequence[Tensor]) -> bool:
        """Whether every kernel computes its chain at these sizes, and in this dtype."""
        return self.serves_sizes(inputs, layouts(inputs))

    def serves_sizes(self, inputs: Sequence[Tensor], sizes: bytes) -> bool:
        """The same, for who knows the layouts of the inputs."""
        return sizes in self._served or self._would_serve(inputs, sizes)

    def _would_serve(self, inputs: Sequence[Tensor], sizes: bytes) -> bool:
        if any(x.dtype is not torch.float32 for x in inputs):
            return False
        shapes, axes = [image_shape(x.shape) for x in inputs], [x.dim() for x in inputs]
        for step in self.steps:
            if not step.serves(shapes, axes):
                return False
            shapes.append(step.output_shape(shapes))
            axes.append(step.output_axes(axes))
        self._served.add(sizes)
        return True

    def _pack(
        self, state: bytes, weights: Sequence[Tensor], biases: Sequence[Tensor | None]
    ) -> _Packed:
        packed_weights: list[Sequence[Tensor]] = []
        packed_biases: list[list[Tensor | None]] = []
        theirs = zip(weights, biases, strict=True)
        for step in self.steps:
            mine = [next(theirs) for _ in range(step.stages)]
            packed_weights.append(_packed_of(step, mine) if mine else ())
            packed_biases.append([None if b is None else b.detach().contiguous() for _, b in mine])
        together = iter(side_by_side([w for packed in packed_weights for w in packed]))
        packed_weights = [[next(together) for _ in packed] for packed in packed_weights]
        addresses = [_addresses(*step) for step in zip(packed_weights, packed_biases, strict=True)]
        kept = [w for packed in packed_weights for w in packed]
        kept += [b for of_step in packed_biases for b in of_step if b is not None]
        dense = [w for w in weights if w.is_contiguous() or w.is_contiguous(memory_format=_LAST)]
        samples = array("q", [number for w in dense for number in (w.data_ptr(), w.numel())])
        fingerprint = sampled_fingerprints(samples)
        read_in_place = all(b is None or b.is_contiguous() for b in biases)
        kept_state = state if read_in_place else None
        return _Packed(
            kept_state, samples, fingerprint, addresses, kept, _headers([*weights, *biases])
        )

    def _prepare(self, packed: _Packed, inputs: Sequence[Tensor]) -> _Ready:
        images = [as_images(x) for x in inputs]
        shapes, axes = [tuple(x.shape) for x in images], [x.dim() for x in inputs]
        for step in self.steps:
            shapes.append(step.output_shape(shapes))
            axes.append(step.output_axes(axes))
        strides = [_strides(shape) for shape in shapes]
        laid_anew = set()
        for i, x in enumerate(images):
            if i not in self._laid_last:
                strides[i] = x.stride()
            elif x.stride() != strides[i]:
                laid_anew.add(i)
        rows, patches, memory = self._rows(packed, shapes, strides)
        results = [
            (_of_axes(shapes[v], axes[v]), _of_axes(strides[v], axes[v])) for v in self.outputs
        ]
        return _Ready(rows, patches, results, memory, frozenset(laid_anew))

    def _rows(
        self, packed: _Packed, shapes: Sequence[Ints], strides: Sequence[Ints]
    ) -> tuple["array[int]", "array[int]", Tensor]:
        """The steps' calls, where inputs and results have to be patched in, and what they share."""
        given = {
            value: which for which, value in enumerate((*range(self.num_inputs), *self.outputs))
        }
        offsets, total = lay_out(list(self._lifetimes(shapes, given)))
        memory = new_memory(total)
        rows, patches = array("q"), array("q")

        def add(entry: int | Address) -> None:
            if not isinstance(entry, Address):
                rows.append(entry)
                return
            value = -1 if entry.value is None else entry.value  # -1: of no value
            if value in given:
                patches.extend((len(rows), given[value]))
            rows.append(memory.data_ptr() + 4 * offsets[value] if value in offsets else 0)

        for number, step in enumerate(self.steps, self.num_inputs):
            weights = packed.addresses[number - self.num_inputs]
            for function, entries in step.rows(number, shapes, strides, weights):
                rows.extend((index_of(function), len(entries) + 1))
                for entry in (*entries, torch.get_num_threads()):
                    add(entry)
        return rows, patches, memory

    def _lifetimes(self, shapes: Sequence[Ints], given: Container[int]) -> Iterator[Lifetime]:
        """Of what lies in the program's own memory: each value from its step to the last reader."""
        for value in range(self.num_inputs, len(shapes)):
            if value in given:
                continue
            readers = [
                number
                for number, step in enumerate(self.steps, self.num_inputs)
                if value in step.reads
            ]
            n, c, h, w = shapes[value]
            yield Lifetime(value, n * c * h * w, value, max(readers, default=value))


def _packed_of(
    step: Step, weights_and_biases: Sequence[tuple[Tensor, Tensor | None]]
) -> Sequence[Tensor]:
    assert isinstance(step, ChainStep)  # no other has weights
    _check(step.chain, weights_and_biases)
    weights = [as_images(w.detach()).contiguous() for w, _ in weights_and_biases]
    return step.kernel.pack(step.chain, weights)


def _headers(tensors: Sequence[Tensor | None]) -> "array[int]":
    """The last call's kernels have driven them out of the caches, and each leads to the next."""
    headers = array("q")
    for t in tensors:
        if t is not None:
            header = t._cdata
            headers.extend((id(t), *range(header, header + 192, 64), t.untyped_storage()._cdata))
    return headers


def _addresses(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> list[int]:
    """Of each weight and its bias, one behind the other; 0 for none."""
    pairs = zip(weights, biases, strict=True)
    return [0 if t is None else t.data_ptr() for pair in pairs for t in pair]


def _strides(shape: Ints) -> Ints:
    """Of channels last."""
    _, c, h, w = shape
    return (h * w * c, 1, w * c, c)


def _of_axes(of_images: Ints, number: int) -> Ints:
    """A shape or strides without the spatial axes that the result does not have."""
    return of_images[:2] + of_images[6 - number :]


def _laid_last(x: Tensor) -> Tensor:
    images = as_images(x)
    shape = tuple(images.shape)
    return torch.empty_strided(shape, _strides(shape)).copy_(images)


def _check(chain: Chain, weights_and_biases: Sequence[tuple[Tensor, Tensor | None]]) -> None:
    for (weight, bias), g in zip(weights_and_biases, chain.geometries, strict=True):
        expected = (g.out_channels, g.in_channels // g.groups, *g.kernel_size)
        if image_shape(weight.shape) != expected or not _is_float_on_cpu(weight):
            raise ShapeError(
                f"convolutions: a weight has shape {tuple(weight.shape)}, {weight.dtype}, on "
                f"{weight.device}; it was planned as {expected}, float32, on the CPU; plan the "
                "network again."
            )
        if bias is not None and (bias.shape != (g.out_channels,) or not _is_float_on_cpu(bias)):
            raise ShapeError(
                f"convolutions: a bias has shape {tuple(bias.shape)}, {bias.dtype}, on "
                f"{bias.device}; it has one float32 on the CPU for each of the "
                f"{g.out_channels} output channels."
            )


def _is_float_on_cpu(t: Tensor) -> bool:
    return t.dtype is torch.float32 and t.is_cpu

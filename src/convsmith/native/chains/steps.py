# SPDX-License-Identifier: Apache-2.0
"""What a program does, one step after the other.

Values are numbered: the program's inputs first, then the result of each step. All of them are
images (N, C, H, W); `axes` says how many axes each really has (see axes.py).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from convsmith.errors import ShapeError
from convsmith.native.chains.chain import Chain
from convsmith.native.chains.kernel import ChainKernel, Ints


class Address(NamedTuple):
    """Stands in a row of integers for where a value lies; None for null."""

    value: int | None


# A function of the core and its integers, without the number of threads that comes last.
Row = tuple[str, list[int | Address]]


class Step(Protocol):
    """One step of a program."""

    @property
    def reads(self) -> tuple[int, ...]:
        """The values that it needs."""

    @property
    def reads_last(self) -> tuple[int, ...]:
        """Those of them that must lie in channels last, without gaps."""

    @property
    def stages(self) -> int:
        """How many weights it has, each with its bias or None."""

    def output_shape(self, shapes: Sequence[Ints]) -> Ints:
        """Shape of the result, from the shapes of all values before it."""

    def output_axes(self, axes: Sequence[int]) -> int:
        """How many axes the result has, from those of all values before it."""

    def serves(self, shapes: Sequence[Ints], axes: Sequence[int]) -> bool:
        """Whether it can be computed at these sizes."""

    def rows(
        self, result: int, shapes: Sequence[Ints], strides: Sequence[Ints], weights: Sequence[int]
    ) -> Iterator[Row]:
        """The calls that compute value `result`; weights are addresses: weight, bias, weight ..."""


class ChainStep(NamedTuple):
    """A chain of convolutions by one kernel."""

    kernel: ChainKernel
    chain: Chain
    x: int
    residual: int | None = None

    @property
    def reads(self) -> tuple[int, ...]:
        return (self.x,) if self.residual is None else (self.x, self.residual)

    @property
    def reads_last(self) -> tuple[int, ...]:
        return self.reads[1:] if self.kernel.takes_any_strides else self.reads

    @property
    def stages(self) -> int:
        return len(self.chain.stages)

    def output_shape(self, shapes: Sequence[Ints]) -> Ints:
        return self.chain.output_shape(shapes[self.x])

    def output_axes(self, axes: Sequence[int]) -> int:
        return axes[self.x]

    def serves(self, shapes: Sequence[Ints], axes: Sequence[int]) -> bool:
        return self.kernel.serves(self.chain, shapes[self.x])

    def rows(
        self, result: int, shapes: Sequence[Ints], strides: Sequence[Ints], weights: Sequence[int]
    ) -> Iterator[Row]:
        if self.residual is not None and shapes[self.residual] != shapes[result]:
            raise ShapeError(
                f"convolutions: the residual has shape {shapes[self.residual]}; it is added "
                f"to a result of shape {shapes[result]}."
            )
        integers = self.kernel.integers(self.chain, shapes[self.x], strides[self.x])
        values = (Address(self.residual), Address(result))
        yield self.kernel.function, [Address(self.x), *weights, *values, *integers]

# SPDX-License-Identifier: Apache-2.0
"""One axis of a convolution, transposed convolution or pooling."""

from dataclasses import dataclass
from math import gcd

from convsmith.errors import ShapeError
from convsmith.geometry.cone import Cone, Interval
from convsmith.geometry.integers import checked, listable


def span(kernel: int, dilation: int = 1) -> int:
    """Positions from the first tap to the last, both counted: dilation (kernel - 1) + 1.

    Raises:
        ShapeError: if it exceeds int64.

    >>> span(3, 4)
    9
    """
    return checked(dilation * (kernel - 1) + 1, f"span of kernel {kernel} with dilation {dilation}")


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after that make the output ceil(size / stride) long; an odd one goes after.

    total = max((ceil(size / stride) - 1) stride + dilation (kernel - 1) + 1 - size, 0)

    Source: TensorFlow's SAME; torch has it for stride 1 only.

    >>> same_padding(224, 3, 2), same_padding(225, 3, 2), same_padding(7, 1, 2)
    ((0, 1), (1, 1), (0, 0))
    """
    taps_span = span(kernel, dilation)
    total = taps_span - 1
    if stride > 1:  # at stride 1 the size does not matter: nothing symbolic comes in
        total -= (size - 1) % stride
    if taps_span < stride:  # only here can it be negative; a symbolic size needs no guard elsewhere
        total = max(total, 0)
    return total // 2, total - total // 2


def same_transposed_padding(
    kernel: int, stride: int = 1, dilation: int = 1
) -> tuple[int, int, int]:
    """Rows cropped before and after, and rows added (output padding), that make the output size *
    stride long.

    The exact reverse of `same_padding` on an input of size * stride.

    >>> same_transposed_padding(4, 2), same_transposed_padding(3, 2), same_transposed_padding(1, 2)
    ((1, 1, 0), (0, 1, 0), (0, 0, 1))
    """
    excess = span(kernel, dilation) - stride
    crop = max(excess, 0)
    return crop // 2, crop - crop // 2, max(-excess, 0)


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution or pooling: output j reads inputs j*stride - before + r*dilation,
    r < kernel.

    Negative `before` and `after` cut the input instead of padding it.

    Raises:
        ShapeError: if kernel, stride or dilation is below 1.
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        _at_least_one(self)

    @property
    def span(self) -> int:
        """Inputs from the first that an output reads to the last, both counted."""
        return span(self.kernel, self.dilation)

    def output_size(self, size: int, *, ceil_mode: bool = False) -> int:
        """floor((size + before + after - span) / stride) + 1; with `ceil_mode` (pooling) rounded
        up.

        Rounded up, a last window that would start in the padding after the input is left out, as in
        torch.

        Raises:
            ShapeError: if the input is empty, the kernel is larger than the padded input, or a size
                exceeds int64.

        >>> Axis(3, dilation=2).output_size(7), Axis(2, 2).output_size(5, ceil_mode=True)
        (3, 3)
        """
        padded = checked(size + self.before + self.after, "padded input size")
        steps = padded - self.span
        outputs = (-(-steps // self.stride) if ceil_mode else steps // self.stride) + 1
        if size < 1 or outputs < 1:
            raise ShapeError(
                f"output size: the kernel spans {self.span} (kernel {self.kernel}, dilation "
                f"{self.dilation}) but the padded input has only {padded} ({size} + {self.before} "
                f"+ {self.after}); the input must be at least 1 and the padded input as long as "
                "the span: pad more or use a smaller kernel"
            )
        starts_in_the_padding = (outputs - 1) * self.stride >= size + self.before
        return outputs - 1 if ceil_mode and starts_in_the_padding else outputs

    def taps(self, size: int) -> int:
        """Multiplications along this axis when every tap counts."""
        return self.output_size(size) * self.kernel

    def live_taps(self, size: int) -> int:
        """Multiplications along this axis that meet a real input: each tap's outputs whose input is
        not padding.

        >>> Axis(3, before=1, after=1).taps(4), Axis(3, before=1, after=1).live_taps(4)
        (12, 10)
        """
        return _meetings(self, self.output_size(size), size)

    def reads(self, output: int) -> range:
        """The inputs of one output, padding included."""
        first = output * self.stride - self.before
        return range(first, first + self.span, self.dilation)

    def cone(self) -> Cone:
        """What output j reads: [stride j - before, stride j - before + span - 1]."""
        return Cone(self.stride, ((-self.before, self.span - 1 - self.before),))


@dataclass(frozen=True)
class TransposedAxis:
    """One axis of a transposed convolution: input i adds to outputs i*stride - before +
    r*dilation, r < kernel.

    Raises:
        ShapeError: if kernel, stride or dilation is below 1.
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    output_padding: int = 0

    def __post_init__(self) -> None:
        _at_least_one(self)

    @property
    def span(self) -> int:
        """Outputs from the first that an input adds to to the last, both counted."""
        return span(self.kernel, self.dilation)

    def output_size(self, size: int) -> int:
        """(size - 1) stride - before - after + span + output_padding.

        Raises:
            ShapeError: if the input is empty, nothing is left of the output, or it exceeds int64.

        >>> TransposedAxis(4, 3).output_size(2)
        7
        """
        full = checked((size - 1) * self.stride + self.span, "transposed output size before crop")
        outputs = checked(
            full - self.before - self.after + self.output_padding, "transposed output size"
        )
        if size < 1 or outputs < 1:
            raise ShapeError(
                f"transposed output size: {outputs} from input {size} (kernel {self.kernel}, "
                f"stride {self.stride}, dilation {self.dilation}, cropped {self.before} + "
                f"{self.after}, output padding {self.output_padding}); both must be at least 1: "
                "crop less"
            )
        return outputs

    def taps(self, size: int) -> int:
        """Multiplications along this axis when every tap of every input counts."""
        return size * self.kernel

    def live_taps(self, size: int) -> int:
        """Multiplications along this axis whose product lands inside the output, not in the
        part cropped away.

        >>> TransposedAxis(3, 2).live_taps(4), TransposedAxis(3, 2, before=1).live_taps(4)
        (12, 11)
        """
        return _meetings(self, size, self.output_size(size))

    def reads(self, output: int) -> list[int]:
        """The inputs whose stamp covers one output, in order."""
        reached = (output + self.before - r * self.dilation for r in reversed(range(self.kernel)))
        return [place // self.stride for place in reached if place % self.stride == 0]

    def cone(self) -> Cone:
        """The inputs whose stamp covers output j; a fractional stride, so one interval for each
        of `stride` phases.

        Raises:
            ShapeError: if the stride exceeds 2^24.
        """
        phases: list[Interval | None] = [None] * listable(self.stride, "cone: outputs in one round")
        # Taps `period` apart add to the same phase: the last ones read first, the first ones last.
        period = min(self.kernel, self.stride // gcd(self.stride, self.dilation))
        for r in range(period):
            last, phase = self._source(r)
            first, _ = self._source(r + (self.kernel - 1 - r) // period * period)
            phases[phase] = (first, last)
        return Cone(1, tuple(phases))

    def _source(self, tap: int) -> tuple[int, int]:
        """The input that a tap brings to an output of the first round, and that output."""
        place = tap * self.dilation - self.before
        return -(place // self.stride), place % self.stride


def _at_least_one(axis: Axis | TransposedAxis) -> None:
    if min(axis.kernel, axis.stride, axis.dilation) < 1:
        raise ShapeError(
            f"axis: kernel {axis.kernel}, stride {axis.stride} and dilation {axis.dilation} must "
            "each be at least 1"
        )


def _meetings(axis: Axis | TransposedAxis, steps: int, size: int) -> int:
    """How many (j < steps, r < kernel) have 0 <= j stride + r dilation - before < size."""
    return _pairs_below(size + axis.before, axis, steps) - _pairs_below(axis.before, axis, steps)


def _pairs_below(limit: int, axis: Axis | TransposedAxis, steps: int) -> int:
    """How many (j < steps, r < kernel) have j stride + r dilation < limit.

    Tap r has min(steps, ceil((limit - r dilation) / stride)) of them: all `steps` for the first
    taps, then fewer, then none. No loop over taps: kernels of 2^40 are counted at once.
    """
    stride, dilation = axis.stride, axis.dilation
    some = max(0, min(axis.kernel, -(-limit // dilation)))
    every = max(0, min(some, -(-(limit - (steps - 1) * stride) // dilation)))
    smallest = limit - (some - 1) * dilation + stride - 1
    return every * steps + _floor_sum(some - every, stride, dilation, smallest)


def _floor_sum(terms: int, divisor: int, step: int, first: int) -> int:
    """sum of floor((first + t step) / divisor) over t < terms: lattice points under a line.

    Whole multiples of the divisor are summed directly; what is left is the same question with the
    axes exchanged, on smaller numbers, as in Euclid's algorithm.
    """
    total = 0
    while terms > 0:
        total += terms * (terms - 1) // 2 * (step // divisor) + terms * (first // divisor)
        step, first = step % divisor, first % divisor
        terms, first = divmod(step * terms + first, divisor)
        divisor, step = step, divisor
    return total

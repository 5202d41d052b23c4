# SPDX-License-Identifier: Apache-2.0
"""One axis of a convolution, transposed convolution or pooling."""

from dataclasses import dataclass

from convsmith.errors import ShapeError
from convsmith.geometry.cone import Cone
from convsmith.geometry.integers import checked


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> tuple[int, int]:
    """Zeros before and after that make the output ceil(size / stride) long; an odd one goes after.

    total = max((ceil(size / stride) - 1) stride + dilation (kernel - 1) + 1 - size, 0)

    Source: TensorFlow's SAME; torch has it for stride 1 only. `size` may be symbolic: where the
        kernel spans the stride
    the total is written without `max`, so that no guard on the size is needed.

    >>> same_padding(224, 3, 2), same_padding(225, 3, 2), same_padding(7, 1, 2)
    ((0, 1), (1, 1), (0, 0))
    """
    span = dilation * (kernel - 1) + 1
    total = span - 1 - (size - 1) % stride
    if span < stride:
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
    excess = dilation * (kernel - 1) + 1 - stride
    crop = max(excess, 0)
    return crop // 2, crop - crop // 2, max(-excess, 0)


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution or pooling: output j reads inputs j*stride - before +
    r*dilation, r < kernel.
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def span(self) -> int:
        """Distance from the first tap to the last, both counted: dilation (kernel - 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    def output_size(self, size: int, *, ceil_mode: bool = False) -> int:
        """floor((size + before + after - span) / stride) + 1; with `ceil_mode` (pooling) rounded
        up.

        Rounded up, a last window that would start in the padding after the input is left out, as in
        torch.

        Raises:
            ShapeError: if the kernel is larger than the padded input, or a size exceeds int64.

        >>> Axis(3, dilation=2).output_size(7), Axis(2, 2).output_size(5, ceil_mode=True)
        (3, 3)
        """
        padded = checked(size + self.before + self.after, "padded input size")
        if size < 0 or padded < self.span:
            raise ShapeError(
                f"output size: the kernel spans {self.span} (kernel {self.kernel}, dilation "
                f"{self.dilation}) but the padded "
                f"input has only {padded} ({size} + {self.before} + {self.after}); pad more or "
                "use a smaller kernel"
            )
        steps = padded - self.span
        if not ceil_mode:
            return steps // self.stride + 1
        outputs = -(-steps // self.stride) + 1
        starts_in_the_padding = (outputs - 1) * self.stride >= size + self.before
        return outputs - 1 if starts_in_the_padding else outputs

    def taps(self, size: int) -> int:
        """Multiplications along this axis when every tap counts."""
        return self.output_size(size) * self.kernel

    def live_taps(self, size: int) -> int:
        """Multiplications along this axis that meet a real input: each tap's outputs whose input is
        not padding.

        >>> Axis(3, before=1, after=1).taps(4), Axis(3, before=1, after=1).live_taps(4)
        (12, 10)
        """
        outputs = self.output_size(size)
        return sum(
            _count(r * self.dilation - self.before, self.stride, outputs, size)
            for r in range(self.kernel)
        )

    def cone(self) -> Cone:
        """What output j reads: [stride j - before, stride j - before + span - 1]."""
        return Cone(self.stride, ((-self.before, self.span - 1 - self.before),))


@dataclass(frozen=True)
class TransposedAxis:
    """One axis of a transposed convolution: input i adds to outputs i*stride - before +
    r*dilation, r < kernel.
    """

    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    output_padding: int = 0

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def output_size(self, size: int) -> int:
        """(size - 1) stride - before - after + span + output_padding.

        Raises:
            ShapeError: if nothing is left of the output, or it exceeds int64.

        >>> TransposedAxis(4, 3).output_size(2)
        7
        """
        full = (size - 1) * self.stride + self.span
        outputs = checked(
            full - self.before - self.after + self.output_padding, "transposed output size"
        )
        if size < 1 or outputs < 1:
            raise ShapeError(
                f"transposed output size: {outputs} from input {size} (kernel {self.kernel}, "
                f"stride {self.stride}, dilation "
                f"{self.dilation}, cropped {self.before} + {self.after}, output padding "
                f"{self.output_padding}); it must be at "
                f"least 1: crop less"
            )
        return outputs

    def taps(self, size: int) -> int:
        """Multiplications along this axis when every tap of every input counts."""
        return size * self.kernel

    def live_taps(self, size: int) -> int:
        """Multiplications along this axis whose product lands inside the output, not in the
        part cropped away.
        """
        outputs = self.output_size(size)
        return sum(
            _count(r * self.dilation - self.before, self.stride, size, outputs)
            for r in range(self.kernel)
        )

    def cone(self) -> Cone:
        """The inputs whose stamp covers output j; a fractional stride, so one interval for each
        of `stride` phases.
        """
        return Cone(1, tuple(self._reads(phase) for phase in range(self.stride)))

    def _reads(self, output: int) -> tuple[int, int] | None:
        reached = [output + self.before - r * self.dilation for r in range(self.kernel)]
        inputs = [position // self.stride for position in reached if position % self.stride == 0]
        return (min(inputs), max(inputs)) if inputs else None


def _count(offset: int, stride: int, steps: int, size: int) -> int:
    """How many j in [0, steps) have 0 <= offset + stride j < size."""
    first = max(0, -(offset // stride))
    last = min(steps - 1, (size - 1 - offset) // stride)
    return max(0, last - first + 1)

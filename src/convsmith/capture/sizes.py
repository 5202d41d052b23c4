# SPDX-License-Identifier: Apache-2.0
"""What a captured network accepts: which sizes may vary, which are baked in, and what must hold
between them.

torch.export proves a graph for every size that satisfies its guards. convsmith drops torch's own
guard code (it rejects sizes that a rewritten network accepts, and 1-pixel maps that are harmless)
and keeps a readable contract instead:

    x.size(2) == 2*(x.size(2)//2)        a skip connection by `cat` needs an even height
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

import torch

from convsmith.capture.guards import holds, sizes_in, with_sizes
from convsmith.errors import ArgumentError, ShapeError

# Larger sizes to try: even ones stay even, odd ones odd, and multiples of a stride stay multiples.
_GROWTHS: tuple[Callable[[int], int], ...] = (
    lambda size: 2 * size,
    lambda size: 3 * size,
    lambda size: size + 64,
)


_READABLE = 120  # characters of a guard


class Tier(Enum):
    """How much of the inputs' sizes may vary: the most dynamic tier that torch.export could
    prove.
    """

    BATCH_AND_SPACE = "batch, height, width"
    SPACE = "height, width"
    BATCH = "batch"
    NOTHING = "nothing"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Input:
    """One leaf of the model's inputs: a tensor's sizes at capture and which of them are free, or a
    baked constant.

    >>> Input(name="x", sizes=(2, 3, 32, 32), free=(True, False, True, True)).describe()
    'x (2*, 3, 32*, 32*)'
    """

    name: str
    sizes: tuple[int, ...] = ()
    free: tuple[bool, ...] = ()
    dtype: torch.dtype = torch.float32
    is_tensor: bool = True
    constant: Any = None

    def describe(self) -> str:
        if not self.is_tensor:
            return f"{self.name} = {self.constant!r}"
        marked = [
            f"{size}*" if free else f"{size}"
            for size, free in zip(self.sizes, self.free, strict=True)
        ]
        return f"{self.name} ({', '.join(marked)})"


@dataclass(frozen=True)
class Contract:
    """Everything a captured network demands of its inputs; `guards` are relations between sizes, as
    text.
    """

    inputs: tuple[Input, ...]
    guards: tuple[str, ...] = ()

    @property
    def tier(self) -> Tier:
        """The tier that the inputs' free sizes amount to."""
        axes = {axis for item in self.inputs for axis, is_free in enumerate(item.free) if is_free}
        if max(axes, default=0) > 0:
            return Tier.BATCH_AND_SPACE if 0 in axes else Tier.SPACE
        return Tier.BATCH if axes else Tier.NOTHING

    def accepts(self, shapes: Mapping[str, Sequence[int]]) -> bool:
        """Whether all guards hold for inputs of these shapes."""
        return all(holds(guard, shapes) for guard in self.guards)

    def settled(self) -> "Contract":
        """The contract with only those sizes free that can really grow under its guards.

        A size that a guard pins (a flatten into a linear layer) is baked in; guards about baked
        sizes alone are dropped.
        """
        axes = sorted(
            {axis for item in self.inputs for axis, is_free in enumerate(item.free) if is_free}
        )
        space = [axis for axis in axes if axis > 0]
        kept = {axis for axis in axes if self._can_grow([axis])}
        if self._can_grow(space):
            kept.update(space)
        inputs = tuple(
            replace(item, free=tuple(flag and axis in kept for axis, flag in enumerate(item.free)))
            for item in self.inputs
        )
        free = {(item.name, axis) for item in inputs for axis, flag in enumerate(item.free) if flag}
        baked = {
            (item.name, axis): size
            for item in inputs
            for axis, size in enumerate(item.sizes)
            if (item.name, axis) not in free
        }
        left = (with_sizes(guard, baked) for guard in self.guards if sizes_in(guard) & free)
        return Contract(inputs, tuple(left))

    def _can_grow(self, axes: Sequence[int]) -> bool:
        return any(self.accepts(self._grown(axes, grow)) for grow in _GROWTHS)

    def _grown(self, axes: Sequence[int], grow: Callable[[int], int]) -> dict[str, tuple[int, ...]]:
        return {
            item.name: tuple(
                grow(size) if free and axis in axes else size
                for axis, (size, free) in enumerate(zip(item.sizes, item.free, strict=True))
            )
            for item in self.inputs
        }

    def describe(self) -> str:
        """One line for error messages: sizes at capture (free ones starred) and the guards.

        A guard too long to be read is only counted.
        """
        at = "; ".join(item.describe() for item in self.inputs)
        short = [guard for guard in self.guards if len(guard) <= _READABLE]
        unread = len(self.guards) - len(short)
        if unread:
            short.append(f"{unread} longer relation{'s' if unread > 1 else ''} between the sizes")
        guards = f", guards: {'; '.join(short)}" if short else ""
        return f"captured at {at} (* may vary){guards}"

    def check(self, leaves: Sequence[Any]) -> None:
        """Refuse inputs that this network was not captured for.

        Raises:
            ShapeError: if a rank or a baked size differs, or a guard does not hold.
            ArgumentError: if a tensor is missing, or a value that was baked into the graph differs.
        """
        for item, leaf in zip(self.inputs, leaves, strict=True):
            _check_leaf(item, leaf)
        if not self.guards:
            return
        shapes = {
            item.name: tuple(leaf.shape)
            for item, leaf in zip(self.inputs, leaves, strict=True)
            if item.is_tensor
        }
        guard = self.broken_by(shapes)
        if guard is not None:
            got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ShapeError(
                f"captured network: inputs {got} do not satisfy `{guard}`, which the captured "
                f"path demands ({self.describe()}); choose other sizes or capture the model "
                "at these."
            )

    def broken_by(self, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
        """The first guard that does not hold for inputs of these shapes."""
        if all(isinstance(size, int) for shape in shapes.values() for size in shape):
            return _first_broken(self.guards, tuple(shapes.items()))
        # Symbolic sizes, while the network is itself captured: each answer becomes torch's guard.
        return next((guard for guard in self.guards if not holds(guard, shapes)), None)


@lru_cache(maxsize=1024)
def _first_broken(
    guards: tuple[str, ...], shapes: tuple[tuple[str, tuple[int, ...]], ...]
) -> str | None:
    """Interpreting the guards takes milliseconds, and a network meets the same sizes again."""
    sizes = dict(shapes)
    return next((guard for guard in guards if not holds(guard, sizes)), None)


def _check_leaf(item: Input, leaf: Any) -> None:
    if not item.is_tensor:
        if type(leaf) is not type(item.constant) or leaf != item.constant:
            raise ArgumentError(
                f"captured network: input {item.name} is {leaf!r}, but {item.constant!r} was "
                f"baked into the graph; values that are not tensors are fixed at capture; capture "
                "the model again with the new value."
            )
        return
    if not isinstance(leaf, torch.Tensor):
        raise ArgumentError(
            f"captured network: input {item.name} is a {type(leaf).__name__}; it must be a tensor."
        )
    if leaf.dim() != len(item.sizes):
        raise ShapeError(
            f"captured network: input {item.name} has {leaf.dim()} dimensions, shape "
            f"{tuple(leaf.shape)}; it was captured with {len(item.sizes)}, shape {item.sizes}."
        )
    if type(leaf) is torch.Tensor and leaf.shape == item.sizes:
        return  # the usual call, spared the loop; symbolic sizes must not be compared as a whole
    for axis, (got, size, free) in enumerate(zip(leaf.shape, item.sizes, item.free, strict=True)):
        if not free and got != size:
            raise ShapeError(
                f"captured network: input {item.name} has size {got} in dimension {axis}, "
                f"expected {size}: this size is baked into the graph (shape {tuple(leaf.shape)}, "
                f"captured at {item.sizes}); capture the model at the new size."
            )

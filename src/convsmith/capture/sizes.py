# SPDX-License-Identifier: Apache-2.0
"""What a captured network accepts: which sizes may vary, which are baked in, and what must hold between them.

torch.export proves a graph for every size that satisfies its guards. convsmith drops torch's own guard code (it rejects
sizes that a rewritten network accepts, and 1-pixel maps that are harmless) and keeps a readable contract instead:

    x.size(2) == 2*(x.size(2)//2)        a skip connection by `cat` needs an even height
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any

import torch

from convsmith.errors import ArgumentError, ShapeError


class Tier(Enum):
    """How much of the inputs' sizes may vary: the most dynamic tier that torch.export could prove."""

    BATCH_AND_SPACE = "batch, height, width"
    SPACE = "height, width"
    BATCH = "batch"
    NOTHING = "nothing"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Input:
    """One leaf of the model's inputs: a tensor's sizes at capture and which of them are free, or a baked constant.

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
    """Everything a captured network demands of its inputs; `guards` are relations between sizes, as text."""

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
        """The contract with only those sizes free that can really grow: doubling them satisfies every guard.

        A size that a guard pins (a flatten into a linear layer) is baked in; guards about baked sizes alone are dropped.
        """
        axes = sorted(
            {axis for item in self.inputs for axis, is_free in enumerate(item.free) if is_free}
        )
        space = [axis for axis in axes if axis > 0]
        kept = {axis for axis in axes if self.accepts(self._doubled([axis]))}
        if space and self.accepts(self._doubled(space)):
            kept.update(space)
        inputs = tuple(
            replace(item, free=tuple(flag and axis in kept for axis, flag in enumerate(item.free)))
            for item in self.inputs
        )
        free = [
            f"{item.name}.size({axis})"
            for item in inputs
            for axis, flag in enumerate(item.free)
            if flag
        ]
        return Contract(
            inputs, tuple(guard for guard in self.guards if any(size in guard for size in free))
        )

    def _doubled(self, axes: Sequence[int]) -> dict[str, tuple[int, ...]]:
        return {
            item.name: tuple(
                size * 2 if free and axis in axes else size
                for axis, (size, free) in enumerate(zip(item.sizes, item.free, strict=True))
            )
            for item in self.inputs
        }

    def describe(self) -> str:
        """One line for error messages: sizes at capture (free ones starred) and the guards."""
        at = "; ".join(item.describe() for item in self.inputs)
        return f"captured at {at} (* may vary)" + (
            f", guards: {'; '.join(self.guards)}" if self.guards else ""
        )

    def check(self, leaves: Sequence[Any]) -> None:
        """Refuse inputs that this network was not captured for.

        Raises:
            ShapeError: if a rank or a baked size differs, or a guard does not hold.
            ArgumentError: if a tensor is missing, or a value that was baked into the graph differs.
        """
        for item, leaf in zip(self.inputs, leaves, strict=True):
            _check_leaf(item, leaf)
        shapes = {
            item.name: leaf.shape
            for item, leaf in zip(self.inputs, leaves, strict=True)
            if item.is_tensor
        }
        for guard in self.guards:
            if not holds(guard, shapes):
                got = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
                raise ShapeError(
                    f"captured network: inputs {got} do not satisfy `{guard}`, which the captured path demands "
                    f"({self.describe()}); choose other sizes or capture the model at these."
                )


def _check_leaf(item: Input, leaf: Any) -> None:
    if not item.is_tensor:
        if type(leaf) is not type(item.constant) or leaf != item.constant:
            raise ArgumentError(
                f"captured network: input {item.name} is {leaf!r}, but {item.constant!r} was baked into the graph; "
                f"values that are not tensors are fixed at capture; capture the model again with the new value."
            )
        return
    if not isinstance(leaf, torch.Tensor):
        raise ArgumentError(
            f"captured network: input {item.name} is a {type(leaf).__name__}; it must be a tensor."
        )
    if leaf.dim() != len(item.sizes):
        raise ShapeError(
            f"captured network: input {item.name} has {leaf.dim()} dimensions, shape {tuple(leaf.shape)}; "
            f"it was captured with {len(item.sizes)}, shape {item.sizes}."
        )
    for axis, (got, size, free) in enumerate(zip(leaf.shape, item.sizes, item.free, strict=True)):
        if not free and got != size:
            raise ShapeError(
                f"captured network: input {item.name} has size {got} in dimension {axis}, expected {size}: "
                f"this size is baked into the graph (shape {tuple(leaf.shape)}, captured at {item.sizes}); "
                f"capture the model at the new size."
            )


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "floor": math.floor,
    "ceil": math.ceil,
}


def holds(guard: str, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a guard is true of the inputs' shapes; it is interpreted, never run as code.

    >>> holds("x.size(2) == 2*(x.size(2)//2)", {"x": (1, 3, 7, 8)})
    False
    """
    try:
        return bool(_value(_parsed(guard), shapes))
    except ArithmeticError:  # a division by a size of zero: nothing was proved for such sizes
        return False
    except RecursionError:
        raise ArgumentError(
            f"guard: {guard[:80]!r} is nested too deeply to be one of torch's."
        ) from None


def parse_guard(guard: str, ranks: Mapping[str, int]) -> None:
    """Refuse a guard that `holds` could not decide.

    Raises:
        ArgumentError: if it is not an expression of the sizes of the named inputs.
    """
    holds(guard, {name: (2,) * rank for name, rank in ranks.items()})


@lru_cache(maxsize=4096)
def _parsed(guard: str) -> ast.expr:
    try:
        return ast.parse(guard, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ArgumentError(f"guard: {guard[:80]!r} is not an expression of input sizes.") from None


def _value(node: ast.expr, shapes: Mapping[str, Sequence[int]]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case (
            ast.BinOp(left=left, op=op, right=right)
            | ast.Compare(left=left, ops=[op], comparators=[right])
        ) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, shapes), _value(right, shapes))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, shapes)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, shapes)
        case ast.BoolOp(op=op, values=values):
            answers = [_value(value, shapes) for value in values]
            return all(answers) if isinstance(op, ast.And) else any(answers)
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id=name), attr="size"),
            args=[ast.Constant(value=int() as axis)],
        ):
            if name in shapes and 0 <= axis < len(shapes[name]):
                return shapes[name][axis]
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(value=ast.Name(id="math"), attr=name), args=args
        ):
            if name in _FUNCTIONS and args:
                return _FUNCTIONS[name](*(_value(arg, shapes) for arg in args))
    raise ArgumentError(
        f"guard: `{ast.unparse(node)[:80]}` is not an expression of the sizes of {sorted(shapes)}."
    )

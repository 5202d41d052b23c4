# SPDX-License-Identifier: Apache-2.0
"""Guards: relations between input sizes, kept as text and interpreted, never run as code.

x.size(2) == 2*(x.size(2)//2)        a skip connection by `cat` needs an even height
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from convsmith.errors import ArgumentError

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


_SIZE = re.compile(r"(\w+)\.size\((\d+)\)")


def sizes_in(guard: str) -> set[tuple[str, int]]:
    """The input sizes that a guard speaks of.

    >>> sizes_in("x.size(2) == 8")
    {('x', 2)}
    """
    return {(name, int(axis)) for name, axis in _SIZE.findall(guard)}


def with_sizes(guard: str, known: Mapping[tuple[str, int], int]) -> str:
    """A guard with numbers in place of the sizes that are known.

    >>> with_sizes("x.size(2) == x.size(3)", {("x", 3): 8})
    'x.size(2) == 8'
    """

    def number(match: re.Match[str]) -> str:
        return str(known.get((match[1], int(match[2])), match[0]))

    return _SIZE.sub(number, guard)


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

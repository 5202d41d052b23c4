# SPDX-License-Identifier: Apache-2.0
"""Arguments as the caller writes them, turned into checked integers per axis."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

from convsmith.errors import ArgumentError, ShapeError

INT64_MAX = 2**63 - 1
MOST_LISTED = 2**24  # where an answer is a list of positions, the longest one given

Ints = int | Sequence[int]
Pairs = tuple[tuple[int, int], ...]
Padding = int | str | Sequence[int | tuple[int, int]]


def checked(value: int, what: str) -> int:
    """`value` itself, or a `ShapeError` when an int64 cannot hold it.

    While a model is captured, a value may be a symbol: it passes, with no guard on it.

    >>> checked(2**62, "elements")
    4611686018427387904
    """
    if isinstance(value, int) and not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ShapeError(
            f"{what}: {value} does not fit in a signed 64-bit integer (at most {INT64_MAX})"
        )
    return value


def listable(count: int, what: str) -> int:
    """`count` itself, or a `ShapeError` when so many entries would fill the memory.

    >>> listable(13, "positions")
    13
    """
    if count > MOST_LISTED:
        raise ShapeError(f"{what}: {count} are too many to list (at most {MOST_LISTED})")
    return count


def per_axis(name: str, value: Ints, axes: int, *, least: int = 1) -> tuple[int, ...]:
    """One integer per axis: an int stands for all axes, a sequence must have one entry for each.

    Raises:
        ArgumentError: if an entry is not an integer.
        ShapeError: if the length is not `axes`, or an entry is below `least` or above int64.

    >>> per_axis("stride", 2, 3), per_axis("stride", (1, 2), 2)
    ((2, 2, 2), (1, 2))
    """
    entries = tuple(_integer(name, value, entry) for entry in _one_each(name, value, axes))
    if min(entries, default=least) < least:
        raise ShapeError(f"{name}: {value!r} must be at least {least}")
    return entries


def padding_pairs(padding: Padding, axes: int) -> Pairs | Literal["same"]:
    """Padding as (before, after) per axis; 'valid' is none, 'same' waits for the input size.

    An int or one int per axis pads both sides alike; a pair per axis pads each side by its own
    amount.

    Raises:
        ArgumentError: if it is another word, or an entry is neither an integer nor a pair of them.
        ShapeError: if the number of axes differs or an amount is negative.

    >>> padding_pairs(1, 2), padding_pairs(((0, 1), 2), 2), padding_pairs("valid", 1)
    (((1, 1), (1, 1)), ((0, 1), (2, 2)), ((0, 0),))
    """
    if isinstance(padding, str):
        if padding == "same":
            return "same"
        if padding == "valid":
            return ((0, 0),) * axes
        raise ArgumentError(
            f"padding: {padding!r} must be 'same', 'valid', integers or pairs of integers"
        )
    return tuple(_before_and_after(entry) for entry in _one_each("padding", padding, axes))


def _before_and_after(entry: Any) -> tuple[int, int]:
    if isinstance(entry, tuple | list) and len(entry) != 2:
        raise ShapeError(
            f"padding: {entry!r} has {len(entry)} entries; an axis takes one amount or a "
            "(before, after) pair"
        )
    before, after = per_axis("padding", entry, 2, least=0)
    return before, after


def _integer(name: str, value: Any, entry: Any) -> int:
    if isinstance(entry, bool) or not isinstance(entry, Integral):
        raise ArgumentError(f"{name}: {value!r} must be an integer or one integer per axis")
    return checked(int(entry), name)


def _one_each(name: str, value: Any, axes: int) -> tuple[Any, ...]:
    entries = tuple(value) if isinstance(value, tuple | list) else (value,)
    if len(entries) == 1:
        entries = entries * axes
    if len(entries) != axes:
        raise ShapeError(
            f"{name}: {value!r} has {len(entries)} entries; {axes} axes need 1 or {axes}"
        )
    return entries

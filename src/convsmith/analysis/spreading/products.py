# SPDX-License-Identifier: Apache-2.0
"""Operators that multiply matrices: what runs along the inner axis comes together."""

from collections.abc import Sequence
from typing import Any

from convsmith.analysis.counting import letters_of
from convsmith.analysis.operators import sizes
from convsmith.analysis.reach import Reach
from convsmith.analysis.spreading.step import Answer, Rule, Step

_INNER = "multiplies a flattened map by a matrix"


def _linear(step: Step) -> Answer:
    found, weight = step.arg("input"), step.arg("weight")
    parts: list[Reach | None] = []
    if found is not None:
        rows = found.reduced([-1], step.whole(_INNER))
        parts.append(rows.resized(rows.rank - 1, step.shape[-1]))
    if weight is not None:
        by = step.whole("its weight is computed from the input")
        parts.append(weight.reduced(range(weight.rank), by).reshaped((1,)))
    return step.union(parts)


def _product(left: str, right: str, added: str | None = None) -> Rule:
    def rule(step: Step) -> Answer:
        parts = [_rows(step, step.arg(left)), _columns(step, step.arg(right), step.size_of(left))]
        return step.union([*parts, step.arg(added) if added else None])

    return rule


def _rows(step: Step, found: Reach | None) -> Reach | None:
    """The left factor: its last axis comes together."""
    if found is None:
        return None
    reduced = found.reduced([-1], step.whole(_INNER))
    is_vector = found.rank + 1 > len(step.shape) and _right_rank(step) == 1
    return reduced.without_axis(reduced.rank - 1) if is_vector else reduced


def _right_rank(step: Step) -> int:
    values = [sizes(n) for n in step.node.args if hasattr(n, "meta")]  # type: ignore[arg-type]
    return len(values[1]) if len(values) > 1 else 2


def _columns(step: Step, found: Reach | None, left: Sequence[int]) -> Reach | None:
    """The right factor: its last axis but one comes together."""
    if found is None:
        return None
    if found.rank == 1:
        return found.reduced([0], step.whole(_INNER))
    reduced = found.reduced([-2], step.whole(_INNER))
    return reduced.without_axis(reduced.rank - 2) if len(left) == 1 else reduced


def _attention(step: Step) -> Answer:
    by = step.whole("attends to all places")
    query, key, value = (step.arg(name) for name in ("query", "key", "value"))
    return step.union(
        [
            query and query.reduced([-1], by),
            key and key.reduced([-1, -2], by),
            value and value.reduced([-2], by),
        ]
    )


def _einsum(step: Step) -> Answer:
    given, _, result = str(step.given["equation"]).replace(" ", "").partition("->")
    nodes = step.given["tensors"]
    rows = [letters_of(t, len(sizes(n))) for t, n in zip(given.split(","), nodes, strict=True)]
    if "->" not in str(step.given["equation"]):
        result = "".join(sorted({x for x in given if x.isalpha() and given.count(x) == 1}))
        result = ("..." if "..." in given else "") + result
    wanted = letters_of(result, len(step.shape))
    parts: list[Reach | None] = []
    for node, row in zip(nodes, rows, strict=True):
        found = step.of(node)
        if found is not None:
            parts.append(_ordered(step, found, row, wanted))
    return step.union(parts)


def _ordered(step: Step, found: Reach, row: list[Any], wanted: list[Any]) -> Reach:
    """One factor of an einsum with the axes of the result."""
    gone = [axis for axis, letter in enumerate(row) if letter not in wanted]
    found = found.reduced(gone, step.whole(_INNER))
    for axis in sorted(gone, reverse=True):
        found = found.without_axis(axis)
    left = [letter for letter in row if letter in wanted]
    for letter in wanted:
        if letter not in left:
            found = found.with_axis(found.rank, 1)
            left.append(letter)
    return found.permuted([left.index(letter) for letter in wanted])


PRODUCTS: dict[str, Rule] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "inner", "mv", "dot"), _product("self", "other")),
    **dict.fromkeys(("mm", "bmm"), _product("self", "mat2")),
    "addmm": _product("mat1", "mat2", "self"),
    "baddbmm": _product("batch1", "batch2", "self"),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}

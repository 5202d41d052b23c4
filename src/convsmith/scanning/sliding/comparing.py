# SPDX-License-Identifier: Apache-2.0
"""Two calls of a network at two sizes: alike but for the sizes, or it cannot be cut into tiles."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from torch.fx import Node
from torch.fx.node import map_arg

from convsmith.analysis.operators import kind_of, named, plain_name, sizes
from convsmith.errors import UnsupportedError
from convsmith.scanning.sliding.watching import Watched, refusal

# Arguments that follow the sizes of the map, as they should.
_SIZES = {
    *("size", "sizes", "shape", "output_size", "end", "length", "split_size", "split_sizes"),
    *("device", "pin_memory"),
}
_RESHAPING = {"view", "reshape", "_unsafe_view", "_reshape_alias", "expand", "unflatten"}
# What broadcasts or joins besides arithmetic: an operand may stand at fixed places of the map.
_JOINING = {"cat", "concat", "concatenate", "stack", "written", "copy", "where"}


def check_alike(small: Watched, large: Watched) -> None:
    """Refuse a network that computes otherwise on an image of another size.

    Raises:
        UnsupportedError: naming the first operator that differs in more than sizes, or that meets
            a tensor with a number for each place.
    """
    for here, there in zip(small.steps, large.steps, strict=False):
        if _signature(here, small.numbers) != _signature(there, large.numbers):
            raise refusal(
                here,
                f"does not do the same on an image of {small.words} and on one of {large.words} "
                f"({_difference(here, there)})",
                "a tile cannot know the size of the image: compute nothing from it, or cut or pad "
                "the image to a multiple of the network's period",
            )
        _check_operands(here, there, large)
    if len(small.steps) != len(large.steps):
        raise UnsupportedError(
            f"scan: the network takes {len(small.steps)} steps on an image of {small.words} and "
            f"{len(large.steps)} on one of {large.words}; one that is cut into tiles must run the "
            "same on every size: compute nothing from the image's size."
        )


def _signature(node: Node, numbers: Mapping[Node, int]) -> tuple[Any, ...]:
    """What a node does, sizes left out."""
    if node.op != "call_function":
        # A constant without a name is numbered among all tensors of the call.
        return node.op, re.sub(r"^constant_\d+$", "constant", str(node.target))
    sources = [numbers[source] for source in node.all_input_nodes]
    name, options = _deed(node)
    return name, sources, str(map_arg(list(options.items()), lambda n: numbers[n]))


def _deed(node: Node) -> tuple[str, dict[str, Any]]:
    """A node's operator and its arguments without the sizes of the map."""
    name = plain_name(node)
    if name in _RESHAPING:
        return name, {}
    given = dict(named(node)) or {str(k): value for k, value in enumerate(node.args)}
    if name in ("slice", "narrow"):  # where it starts, counted from the front
        size, start = sizes(node.all_input_nodes[0])[given["dim"]], given["start"] or 0
        given["start"] = min(max(start + size if start < 0 else start, 0), size)
    if "upsample" in name:
        given["scale_factors"] = [str(factor) for factor in factors(node)]
    return name, {key: value for key, value in given.items() if key not in _SIZES}


def factors(node: Node) -> list[Fraction]:
    """By how much a resizing operator enlarges each spatial axis: as given, else by the sizes."""
    given = named(node)
    scales = given.get("scale_factors") or [
        value for name, value in given.items() if name.startswith("scales")
    ]
    pairs = list(zip(sizes(node.all_input_nodes[0]), sizes(node), strict=True))[2:]
    if scales and all(scale is not None for scale in scales):
        return [Fraction(scale) for scale in scales]
    return [Fraction(after, before) for before, after in pairs]


def _difference(here: Node, there: Node) -> str:
    if plain_name(here) != plain_name(there):
        return f"{plain_name(here)} on one, {plain_name(there)} on the other"
    mine, theirs = _deed(here)[1], _deed(there)[1]
    rows = [
        f"{key} {mine[key]} and {theirs[key]}"
        for key in mine
        if mine[key] != theirs[key] and not isinstance(mine[key], Node)
    ]
    return rows[0] if rows else "on other inputs"


def _check_operands(here: Node, there: Node, large: Watched) -> None:
    """Refuse a constant that has a number for each place: a tile would meet the wrong ones."""
    if kind_of(here) != "elementwise" and plain_name(here) not in _JOINING:
        return
    rank = len(sizes(here))
    pairs = zip(sizes(here), sizes(there), strict=True)
    grown = [axis - rank for axis, (small, large_) in enumerate(pairs) if small != large_]
    for operand in there.all_input_nodes:
        shape = sizes(operand)
        if operand in large.moved:
            continue
        if any(-axis <= len(shape) and shape[axis] > 1 for axis in grown):
            raise refusal(
                there,
                f"meets a tensor of {shape} that has a number for each place of the image",
                "a tile does not know where it lies: take such a tensor out of the network",
            )

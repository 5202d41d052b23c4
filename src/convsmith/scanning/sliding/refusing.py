# SPDX-License-Identifier: Apache-2.0
"""Operators that a tile cannot compute, whatever it reads, each refused by name."""

from collections.abc import Callable, Mapping

from torch.fx import Node

from convsmith.analysis.operators import named, plain_name, sizes
from convsmith.analysis.reach import Reach
from convsmith.analysis.result import WholeMap
from convsmith.scanning.sliding.comparing import factors
from convsmith.scanning.sliding.watching import refusal

TWO_PASS = "two_pass=True (--two-pass) finds such numbers over all tiles first, where it can"
_ALIKE = "only what does the same at every place can be cut into tiles"


def check_operator(node: Node, reach: Reach) -> None:
    """Refuse an operator whose numbers depend on where the map ends.

    Raises:
        UnsupportedError: naming its module, its line and what to do instead.
    """
    for name, check in _CHECKS.items():
        if plain_name(node).startswith(name):
            check(node, reach)


def check_whole(node: Node, whole: WholeMap | None) -> None:
    """Refuse an operator whose results depend on all places.

    Raises:
        UnsupportedError: naming its module, its line and what to do instead.
    """
    if whole is not None:
        raise refusal(node, whole.why, f"a tile does not see the whole image; {TWO_PASS}")


def _pad(node: Node, reach: Reach) -> None:
    if named(node).get("mode") == "circular":
        raise refusal(
            node,
            "pads with the opposite edge",
            "a tile sees one edge at most; pad with zeros, 'reflect' or 'replicate'",
        )


def _roll(node: Node, reach: Reach) -> None:
    if any(reach.matters(dim) for dim in named(node)["dims"] or range(reach.rank)):
        raise refusal(node, "carries one edge of the map to the other", _ALIKE)


def _resize(node: Node, reach: Reach) -> None:
    if named(node).get("align_corners"):
        raise refusal(
            node, "aligns the corners of the whole map", "resize with align_corners=False"
        )
    for factor in factors(node):
        larger, smaller = factor.numerator, factor.denominator
        if min(larger, smaller) != 1 or max(larger, smaller).bit_count() != 1:
            raise refusal(
                node,
                f"resizes by {float(factor):g}",
                "positions are rounded unless the factor is a power of two, and then differ from "
                "tile to tile; resize by a power of two",
            )
    ends = zip(sizes(node.all_input_nodes[0])[2:], sizes(node)[2:], factors(node), strict=True)
    if any(before * factor != after for before, after, factor in ends):
        raise refusal(
            node,
            f"resizes a map of {sizes(node.all_input_nodes[0])} to {sizes(node)}",
            "cut or pad the image so that nothing is left over",
        )


def _adaptive(node: Node, reach: Reach) -> None:
    if any(size > 1 for size in sizes(node)[2:]):
        raise refusal(
            node,
            f"pools any map to {sizes(node)[2:]}",
            "its windows follow the size of the image; use a pool with a kernel and a stride",
        )


def _unpool(node: Node, reach: Reach) -> None:
    pool = node.args[1].all_input_nodes[0] if isinstance(node.args[1], Node) else node
    given = named(pool)
    kernel = given.get("kernel_size")
    is_plain = kernel is not None and list(given.get("stride") or kernel) == list(kernel)
    if not is_plain or any(given.get("padding", [1])) or given.get("ceil_mode"):
        raise refusal(
            node,
            "puts values where overlapping windows found them",
            "unpool after a pool whose stride is its kernel, without padding",
        )


_CHECKS: Mapping[str, Callable[[Node, Reach], None]] = {
    "pad": _pad,
    "roll": _roll,
    "upsample": _resize,
    "_upsample": _resize,
    "adaptive": _adaptive,
    "max_unpool": _unpool,
}

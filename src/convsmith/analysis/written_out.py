# SPDX-License-Identifier: Apache-2.0
"""Convolutions that a network spells out: patches (im2col) times kernels, summed up.

stored matrix @ patches                       a convolution of these patches' integers
patches * kernels made from the input, sum    a kind whose kernels are made at every place
patches * stored kernels of every place, sum  a kind that stores a kernel for every place
"""

from math import prod

from torch.fx import Node

import convsmith.convs  # noqa: F401  (registers the families)
from convsmith.analysis.counting import is_contraction
from convsmith.analysis.operators import is_view, plain_name, sizes
from convsmith.analysis.windows import window_at
from convsmith.errors import UnsupportedError
from convsmith.family import families, recognize
from convsmith.geometry import Axis, Geometry

_PRODUCTS = ("matmul", "mm", "bmm", "linear", "einsum")
_COPIES = ("clone", "contiguous", "reshape")


def written_out(node: Node) -> str | None:
    """The family of a convolution that is written as a product with patches; None for others."""
    if node.op != "call_function" or len(node.all_input_nodes) < 2:
        return None
    is_sum = is_contraction(node)
    if not is_sum and plain_name(node) not in _PRODUCTS:
        return None
    left, right = node.all_input_nodes[:2]
    for patches, kernels in ((left, right), (right, left)):
        source = _behind(patches)
        if plain_name(source) == "im2col":
            is_apart = is_sum or _keeps_places(node, patches, kernels)
            return _at_places(source, kernels) if is_apart else _everywhere(source, kernels)
    return None


def _keeps_places(node: Node, patches: Node, kernels: Node) -> bool:
    """Whether an einsum multiplies at each place, the last letter of the patches, by itself."""
    equation = str(node.args[0]).replace(" ", "") if plain_name(node) == "einsum" else ""
    terms, _, result = equation.partition("->")
    operands = dict(zip(node.all_input_nodes, terms.split(","), strict=False))
    if not result or len(operands) != 2:
        return False
    place = operands[patches][-1:]
    return place in operands[kernels] and place in result


def _behind(node: Node) -> Node:
    """What a row of views and copies shows."""
    while node.op == "call_function" and node.all_input_nodes:
        if not is_view(node) and plain_name(node) not in _COPIES:
            return node
        node = node.all_input_nodes[0]
    return node


def _is_stored(node: Node) -> bool:
    """Whether a value is made of stored tensors alone."""
    sources = node.all_input_nodes
    return node.op == "get_attr" or (bool(sources) and all(map(_is_stored, sources)))


def _at_places(patches: Node, kernels: Node) -> str | None:
    stored = _is_stored(kernels)
    if prod(sizes(kernels)) % max(1, sizes(patches)[-1]):
        return None  # one kernel for all places
    wanted = "stored" if stored else "made"
    found = (f.name for f in families().values() if f.kernels_at_places == wanted)
    return next(found, None)


def _everywhere(patches: Node, kernels: Node) -> str | None:
    windows = window_at(patches)
    channels, rows = sizes(patches.all_input_nodes[0])[-3], sizes(patches)[-2]
    if windows is None or not _is_stored(kernels) or rows not in sizes(kernels)[-2:]:
        return None
    axes = [axis for axis in windows.axes if isinstance(axis, Axis)]
    geometry = Geometry(
        in_channels=channels,
        out_channels=max(1, prod(sizes(kernels)) // rows),
        kernel_size=tuple(axis.kernel for axis in axes),
        stride=tuple(axis.stride for axis in axes),
        padding=tuple((axis.before, axis.after) for axis in axes),
        dilation=tuple(axis.dilation for axis in axes),
        groups=1,
    )
    try:
        return recognize(geometry).name
    except UnsupportedError:
        return None

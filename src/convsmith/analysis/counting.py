# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates of one node of a captured or traced graph, from shapes alone.

    convolution        outputs * (I / groups) * taps
    transposed         inputs * (O / groups) * taps
    linear, products   outputs * inner length
    attention          both of its products
    recurrent          places * numbers in its matrices
    a * b, then sum    elements of a * b

Operators of the library itself state their cost where they are defined, in torch's registry of
flops, two for each multiply-add; no family is named here. Counted as executed: a weight that holds
zeros costs what a dense one does.
"""

from collections.abc import Callable
from math import prod

import torch
from torch.fx import Node, map_arg
from torch.utils.flop_counter import flop_registry

from convsmith.analysis.operators import is_view, kind_of, named, plain_name, sizes
from convsmith.analysis.windows import convolution_at, window_at
from convsmith.geometry import Axis, Macs

NOTHING = Macs(0, 0)


def node_macs(node: Node) -> int:
    """Count the multiply-accumulates of one node at the example's size, every tap; 0 if it has
    none or they are not known.
    """
    counted = macs_of(node)
    return counted.all if counted else 0


def macs_of(node: Node) -> Macs | None:
    """Count the multiply-accumulates of one node, of all taps and of live ones.

    Returns None where there are some and no formula is known.
    """
    if node.op != "call_function":
        return NOTHING
    found = convolution_at(node)
    if found is not None:
        return found.geometry.macs(found.input_shape)
    if getattr(node.target, "namespace", None) == "convsmith":
        return _registered(node)
    counter = _PRODUCTS.get(plain_name(node))
    if counter is not None:
        all_taps = counter(node)
        return Macs(all_taps, all_taps)
    if is_contraction(node):
        return _contraction(node)
    is_named = plain_name(node).startswith(_UNCOUNTED)
    return None if is_named and kind_of(node) == "unknown" else NOTHING


def is_contraction(node: Node) -> bool:
    """Whether a node multiplies two tensors whose product is only summed up: a multiply-add."""
    if plain_name(node) != "mul" or len(node.all_input_nodes) < 2:
        return False
    if not all(len(sizes(n)) for n in node.all_input_nodes):
        return False
    users = list(node.users)
    while len(users) == 1 and is_view(users[0]) and users[0].op == "call_function":
        users = list(users[0].users)
    return len(users) == 1 and plain_name(users[0]) == "sum"


def _contraction(node: Node) -> Macs:
    """Every product of it; live are those that meet no zero which patches were padded with."""
    every = prod(sizes(node))
    live = 1.0
    for given in node.all_input_nodes:
        while given.op == "call_function" and is_view(given) and given.all_input_nodes:
            given = given.all_input_nodes[0]
        found = window_at(given) if plain_name(given) == "im2col" else None
        if found is not None:
            pairs = list(zip(found.axes, found.sizes, strict=True))
            live *= prod(axis.live_taps(n) for axis, n in pairs)
            live /= prod(axis.taps(n) for axis, n in pairs)
    return Macs(every, round(every * live))


def _registered(node: Node) -> Macs | None:
    """Half of the flops that an operator registered for the shapes of its tensors."""
    flops = flop_registry.get(node.target.overloadpacket)  # type: ignore[union-attr]
    if flops is None:
        return None
    given = map_arg(node.args, lambda n: torch.empty(sizes(n), device="meta"))
    macs = int(flops(*given, out_val=torch.empty(sizes(node), device="meta"))) // 2
    found = window_at(node)
    axes = list(zip(found.axes, found.sizes, strict=True)) if found else []
    if not all(isinstance(axis, Axis) for axis, _ in axes):
        return Macs(macs, macs)
    every = prod(axis.taps(n) for axis, n in axes)
    return Macs(macs, macs * prod(axis.live_taps(n) for axis, n in axes) // max(1, every))


def _inner(name: str) -> Callable[[Node], int]:
    """outputs * the last size of one of the arguments."""
    return lambda node: prod(sizes(node)) * sizes(named(node)[name])[-1]


def _bilinear(node: Node) -> int:
    given = named(node)
    return prod(sizes(node)) * sizes(given["input1"])[-1] * (sizes(given["input2"])[-1] + 1)


def _attention(node: Node) -> int:
    given = named(node)
    query, key, value = (sizes(given[name]) for name in ("query", "key", "value"))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(node: Node) -> int:
    given = named(node)
    weights = given.get("params") or given.get("weight") or []
    places = prod(sizes(given.get("input") or given.get("data"))[:-1])  # type: ignore[arg-type]
    return places * sum(prod(sizes(w)) for w in weights if len(sizes(w)) == 2)


def _einsum(node: Node) -> int:
    """Contracted from the left, two at a time: the product of all sizes that meet each time."""
    shapes = [sizes(tensor) for tensor in named(node)["tensors"]]
    given, _, result = str(named(node)["equation"]).replace(" ", "").partition("->")
    of: dict[str, int] = {}
    lists = []
    for term, shape in zip(given.split(","), shapes, strict=True):
        lists.append(letters_of(term, len(shape)))
        of |= {x: max(n, of.get(x, 1)) for x, n in zip(lists[-1], shape, strict=True)}
    if not result:
        result = "".join(sorted({x for x in given if x.isalpha() and given.count(x) == 1}))
    macs, left = 0, set(lists[0])
    for place, letters in enumerate(lists[1:], 1):
        left |= set(letters)
        macs += prod(of[x] for x in left)
        later = {x for other in lists[place + 1 :] for x in other}
        left &= later | set(result) | {x for x in left if x.startswith(".")}
    return macs


def letters_of(term: str, rank: int) -> list[str]:
    """The names of a term's axes; those under an ellipsis are counted from the last."""
    before, dots, after = term.partition("...")
    unnamed = rank - len(before) - len(after) if dots else 0
    return [*before, *(f".{unnamed - k}" for k in range(unnamed)), *after]


def _tensordot(node: Node) -> int:
    given = named(node)
    return prod(sizes(node)) * prod(sizes(given["self"])[axis] for axis in given["dims_self"])


def _cell(node: Node) -> int:
    """One step of a recurrent layer: every number of its two matrices, for each of the batch."""
    given = named(node)
    weights = prod(sizes(given["w_ih"])) + prod(sizes(given["w_hh"]))
    return prod(sizes(given["input"])[:-1]) * weights


def _chain(node: Node) -> int:
    (tensors,) = [value for value in named(node).values() if isinstance(value, list | tuple)]
    shapes = [sizes(tensor) for tensor in tensors]
    rows = shapes[0][0]
    return sum(rows * shape[0] * shape[-1] for shape in shapes[1:])


_CELLS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_PRODUCTS: dict[str, Callable[[Node], int]] = {
    "linear": _inner("input"),
    "matmul": _inner("self"),
    "mm": _inner("self"),
    "bmm": _inner("self"),
    "mv": _inner("self"),
    "dot": _inner("self"),
    "vdot": _inner("self"),
    "inner": _inner("self"),
    "linalg_matmul": _inner("self"),
    "linalg_vecdot": lambda node: prod(sizes(named(node)["x"])),
    "tensordot": _tensordot,
    "addmm": _inner("mat1"),
    "addmv": _inner("mat"),
    "baddbmm": _inner("batch1"),
    "addbmm": lambda node: prod(sizes(named(node)["batch1"])) * sizes(node)[-1],
    **dict.fromkeys(("outer", "ger", "addr"), lambda node: prod(sizes(node))),
    "kron": lambda node: prod(sizes(node)),
    "bilinear": _bilinear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "chain_matmul": _chain,
    "linalg_multi_dot": _chain,
    **dict.fromkeys(_CELLS, _recurrent),
    **{f"{cell}_cell": _cell for cell in _CELLS},
}
# Multiplications without a formula here: named in the result, never counted as none.
_UNCOUNTED = (
    *("cdist", "_cdist", "pdist", "fft_", "_fft", "stft", "istft", "linalg_", "cholesky", "svd"),
    *("inverse", "qr", "lu_", "matrix_exp", "_native_multi_head", "_transformer_encoder"),
    *("quantized", "_int_mm", "_scaled_mm", "deform", "_thnn"),
)
KINDS_OF_PRODUCTS: dict[str, str] = {
    "linear": "linear",
    "bilinear": "linear",
    "scaled_dot_product_attention": "attention",
    **{f"{cell}{step}": "linear" for cell in _CELLS for step in ("", "_cell")},
}


def is_product(node: Node) -> bool:
    """Whether a node is a product of tensors by its operator."""
    return plain_name(node) in _PRODUCTS

# SPDX-License-Identifier: Apache-2.0
"""From the nodes of a traced graph to layers with names, families and costs."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx import Node

import convsmith.convs  # noqa: F401  (registers the families)
from convsmith.analysis.cones import cones
from convsmith.analysis.counting import (
    KINDS_OF_PRODUCTS,
    NOTHING,
    is_contraction,
    is_product,
    macs_of,
)
from convsmith.analysis.gridding import gridding_of
from convsmith.analysis.memory import tensors_in
from convsmith.analysis.operators import is_view, kind_of, named, plain_name, sizes
from convsmith.analysis.result import Layer
from convsmith.analysis.roofline import Ceiling
from convsmith.analysis.windows import convolution_at, window_at
from convsmith.analysis.written_out import written_out
from convsmith.capture import Traced, module_path, source_line
from convsmith.errors import ConvsmithError, UnsupportedError
from convsmith.family import Family, families, recognize

_OPTIONS = ("kernel_size", "stride", "padding", "dilation", "groups", "output_padding")


def layers_of(
    traced: Traced, times: Mapping[Node, float] | None = None, top: Ceiling | None = None
) -> list[tuple[Node, Layer]]:
    """Every node that computes or moves something, in order, with its layer."""
    weights = _weights(traced.graph)
    nodes = [node for node in traced.graph.nodes if _works(node)]
    names = dict(zip(nodes, _names(nodes), strict=True))
    readers: dict[str, str] = {}
    rows = []
    for node in nodes:
        layer = _layer(traced, node, names[node], weights)
        for tensor in sorted(weights[node]):
            first = readers.setdefault(tensor, layer.name)
            if first != layer.name:
                note = f"shares {tensor} with {first}"
                layer = replace(layer, notes=(*layer.notes, note))
        if times is not None and top is not None and node in times:
            layer = replace(layer, time=top.time(layer, times[node]))
        rows.append((node, layer))
    rows = _with_cones(
        traced, rows, lambda node: names.get(node, module_path(node) or plain_name(node))
    )
    rows = _by_definition(traced, rows, top)
    return [(node, replace(layer, index=k)) for k, (node, layer) in enumerate(rows)]


def _with_cones(
    traced: Traced, rows: list[tuple[Node, Layer]], name_of: Callable[[Node], str]
) -> list[tuple[Node, Layer]]:
    found, by_input = cones(traced.graph, name_of)
    with_cones = []
    for node, layer in rows:
        cone = found.get(node)
        if cone is not None:
            holes = gridding_of(node, found, by_input[cone.input], name_of)
            layer = replace(layer, cone=cone, gridding=holes)
        with_cones.append((node, layer))
    return with_cones


def _works(node: Node) -> bool:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    if "dropout" in plain_name(node):
        return False  # at inference it hands its input on
    if kind_of(node) != "layout" or is_product(node):
        return any(True for _ in tensors_in(node.meta.get("val")))
    return isinstance(node.meta.get("val"), Tensor) and not is_view(node) and _depends(node)


def _depends(node: Node) -> bool:
    """Whether a layout node moves data of the inputs, rather than making constants."""
    return any(n.op in ("placeholder", "call_function") for n in node.all_input_nodes)


def _weights(graph: fx.Graph) -> dict[Node, frozenset[str]]:
    """For every node the stored tensors it reads, directly or through others made of them alone."""
    constant: dict[Node, frozenset[str]] = {}
    found: dict[Node, frozenset[str]] = {}
    for node in graph.nodes:
        sources = node.all_input_nodes
        read: frozenset[str] = frozenset()
        for source in sources:
            read |= constant.get(source, frozenset())
        if node.op == "get_attr":
            constant[node] = frozenset({str(node.target)})
        elif node.op == "call_function" and all(s in constant for s in sources):
            constant[node] = read
        found[node] = read
    return found


def _names(nodes: Sequence[Node]) -> list[str]:
    """A module's own path where it does one thing, else path:operator, numbered from the second."""
    calls = [next(reversed(node.meta.get("nn_module_stack") or {"": None})) for node in nodes]
    work = Counter(calls)
    seen: Counter[str] = Counter()
    names = []
    for node, call in zip(nodes, calls, strict=True):
        name = call
        if not call or work[call] > 1 or _is_remembered_by_path(node):
            name = f"{call}:{plain_name(node)}" if call else plain_name(node)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _is_remembered_by_path(node: Node) -> bool:
    """Whether a captured network says only in which module a node without weights was, which may
    have done more than this.
    """
    kinds = [kind for _, kind in (node.meta.get("nn_module_stack") or {}).values()]
    has_weights = any(n.op == "get_attr" for n in node.all_input_nodes)
    return bool(kinds) and not kinds[-1] and not has_weights


def _layer(traced: Traced, node: Node, name: str, weights: dict[Node, frozenset[str]]) -> Layer:
    macs = macs_of(node)
    kind = _kind(node)
    values = [n for n in node.all_input_nodes if sizes(n)]
    data = [n for n in values if n.op != "get_attr"]
    stored = [t for t in (_tensor(traced, w) for w in weights[node]) if t is not None]
    parameters = [t for t in stored if isinstance(t, nn.Parameter)]
    weight_bytes = sum(t.numel() * t.element_size() for t in stored)
    read, wrote = sum(map(_bytes, data)), 0 if is_view(node) else _bytes(node)
    moved = weight_bytes + read + wrote
    own = _own_module(traced, node)
    family = _family(node)
    around = own[1].name if own and own[1].name != family else None
    return Layer(
        index=0,
        name=name,
        module=module_path(node),
        line=source_line(node) if node.meta.get("stack_trace") else "",
        operator=_operator(node),
        kind=kind,
        family=family,
        part_of=around,
        inputs=tuple(map(sizes, data)),
        output=next((tuple(t.shape) for t in tensors_in(node.meta["val"])), ()),
        options=_options(node),
        parameters=sum(t.numel() for t in parameters),
        macs=None if kind == "unknown" else macs,
        elements=_elements(node, kind),
        weight_bytes=weight_bytes,
        input_bytes=read,
        output_bytes=wrote,
        intensity=2 * macs.all / moved if macs and macs.all and moved else None,
        notes=_notes(node),
    )


def _kind(node: Node) -> str:
    if convolution_at(node) is not None or getattr(node.target, "namespace", "") == "convsmith":
        return "convolution"
    if written_out(node) is not None:
        return "convolution"
    if is_product(node):
        return KINDS_OF_PRODUCTS.get(plain_name(node), "product")
    if is_contraction(node):
        return "product"
    return kind_of(node)


def _operator(node: Node) -> str:
    return "mul and sum" if is_contraction(node) else plain_name(node)


def _tensor(traced: Traced, name: str) -> Tensor | None:
    owner: Any = traced.model
    for part in name.split("."):
        owner = getattr(owner, part, None)
    return owner if isinstance(owner, Tensor) else None


def _bytes(node: Node) -> int:
    return sum(t.numel() * t.element_size() for t in tensors_in(node.meta.get("val")))


def _elements(node: Node, kind: str) -> int:
    """What a node that multiplies no tensors works through."""
    if kind == "pooling":
        found = window_at(node)
        if found is not None:
            return prod(sizes(node) or (0,)) * prod(axis.kernel for axis in found.axes)
    if kind in ("pooling", "reduction"):
        return sum(prod(sizes(n)) for n in node.all_input_nodes[:1])
    if kind in ("norm", "elementwise", "resize"):
        return next((t.numel() for t in tensors_in(node.meta["val"])), 0)
    return 0


def _options(node: Node) -> dict[str, Any]:
    found = convolution_at(node)
    if found is not None:
        geometry = found.geometry
        options = {key: getattr(geometry, key, None) for key in _OPTIONS}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items() if v}
        plain["padding"] = [list(pair) for pair in geometry.padding]
        return {k: v for k, v in plain.items() if k != "output_padding" or any(v)}
    given = named(node)
    return {
        key: list(given[key]) if isinstance(given[key], tuple | list) else given[key]
        for key in _OPTIONS
        if isinstance(given.get(key), int | tuple | list) and given.get(key) != []
    }


def _notes(node: Node) -> tuple[str, ...]:
    found = convolution_at(node)
    if found is not None and found.input_shape != sizes(named(node)["input"]):
        return ("zeros padded by the operator before it are counted as its padding",)
    return ()


def _family(node: Node) -> str | None:
    """The family of a convolution's integers, of the library's operator, or of a convolution that
    is spelt out.
    """
    found = convolution_at(node)
    if found is not None:
        try:
            return recognize(found.geometry).name
        except UnsupportedError:
            return None
    if getattr(node.target, "namespace", "") == "convsmith":
        for family in families().values():
            if plain_name(node) in {op.__name__ for op in family.ops.values()}:
                return family.name
    return written_out(node)


@cache
def _families_by_layer() -> dict[type, Family]:
    return {layer: f for f in families().values() for layer in f.layers.values()}


def _own_module(traced: Traced, node: Node) -> tuple[str, Family, Any] | None:
    """The outermost layer of this library around a node: its call, family and geometry."""
    calls = {"": ("", ""), **(node.meta.get("nn_module_stack") or {})}
    # Of a captured network only the names of its modules are left.
    found = (
        _as_own(call, traced.modules[path])
        for call, (path, kind) in calls.items()
        if kind or not path
    )
    return next((own for own in found if own is not None), None)


def _as_own(call: str, module: nn.Module) -> tuple[str, Family, Any] | None:
    if not any(kind in _families_by_layer() for kind in type(module).__mro__):
        return None
    geometry: Any = module.geometry
    return call, recognize(geometry), geometry


def _by_definition(
    traced: Traced, rows: Iterable[tuple[Node, Layer]], top: Ceiling | None
) -> list[tuple[Node, Layer]]:
    """Layers of this library that execute other work than their kind defines become one layer
    each, counted by definition.
    """
    groups: dict[str, list[tuple[Node, Layer]]] = {}
    rows = list(rows)
    for node, layer in rows:
        own = _own_module(traced, node)
        if own is not None:
            groups.setdefault(own[0], []).append((node, layer))
    calls = [node for node in traced.graph.nodes if node.op == "call_function"]
    results = {own[0]: node for node in calls if (own := _own_module(traced, node))}
    merged: dict[Node, tuple[Node, Layer] | None] = {}
    for group in groups.values():
        own = _own_module(traced, group[0][0])
        assert own is not None
        one = _one_layer(traced, group, sizes(results[own[0]]), *own)
        if one is not None:
            if top is not None:
                ms = sum(layer.time.ms for _, layer in group if layer.time)
                one = one[0], replace(one[1], time=top.time(one[1], ms))
            merged |= dict.fromkeys((node for node, _ in group), None)
            merged[group[-1][0]] = one
    kept = [merged.get(node, (node, layer)) for node, layer in rows]
    return [row for row in kept if row is not None]


def _one_layer(
    traced: Traced,
    group: list[tuple[Node, Layer]],
    output_shape: tuple[int, ...],
    call: str,
    family: Family,
    geometry: Any,
) -> tuple[Node, Layer] | None:
    shape = traced.first_shapes.get(call)
    counted = [layer.macs for _, layer in group if layer.macs]
    executed = sum(counted, NOTHING)
    try:
        macs = family.macs(geometry, shape) if shape else executed
    except ConvsmithError:
        return None
    if macs == executed or shape is None:
        return None
    if output_shape != family.output_shape(geometry, shape):
        return None  # an output size was asked for, which the input alone does not say
    (node, last), (_, first) = group[-1], group[0]
    notes = {note for _, layer in group for note in layer.notes}
    if macs.all != executed.all:
        notes.add(f"executed with {executed.all:,} multiply-accumulates")
    biggest = max((layer for _, layer in group), key=lambda layer: layer.all_macs)
    return node, replace(
        last,
        name=call or biggest.operator,
        operator=biggest.operator,
        kind="convolution",
        family=family.name,
        part_of=None,
        inputs=(shape,),
        options=biggest.options,
        parameters=sum(layer.parameters for _, layer in group),
        macs=macs,
        elements=0,
        weight_bytes=sum(layer.weight_bytes for _, layer in group),
        input_bytes=first.input_bytes,
        notes=tuple(sorted(notes)),
    )

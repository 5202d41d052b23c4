# SPDX-License-Identifier: Apache-2.0
"""Values of a graph as JSON and back: what JSON has stands for itself, the rest is an object with
one key.

    node     {"node": "conv2d"}        dtype          {"dtype": "float32"}
    tuple    {"tuple": [1, 2]}         memory format  {"memory_format": "channels_last"}
    slice    {"slice": [0, null, 2]}   layout         {"layout": "strided"}
    infinity {"float": "inf"}          device         {"device": "cpu"}

The nesting of inputs and results is written with the same marks, "*" standing for a tensor (or a
baked value).
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from convsmith.errors import FormatError, UnsupportedError

MAX_DEPTH = 16
LEAF = "*"
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d{1,3})?")
_INT64 = range(-(2**63), 2**63)
_MEMORY_FORMATS = {
    name: getattr(torch, name)
    for name in ("contiguous_format", "channels_last", "channels_last_3d", "preserve_format")
}
_LAYOUTS = {"strided": torch.strided}
DTYPES = {
    name: getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16", "complex64"),
        *("int64", "int32", "int16", "int8", "uint8", "bool"),
    )
}


def name_in(table: Mapping[str, Any], value: Any) -> str | None:
    """The key of a value in one of the tables above."""
    return next((name for name, known in table.items() if known is value or known == value), None)


def encode(value: Any) -> Any:
    """A value of a node's arguments as JSON.

    >>> encode([1, float("inf"), (torch.float32, None)])
    [1, {'float': 'inf'}, {'tuple': [{'dtype': 'float32'}, None]}]

    Raises:
        UnsupportedError: if the value has no form in JSON.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case fx.Node():
            return {"node": value.name}
        case slice():
            return {"slice": [encode(part) for part in (value.start, value.stop, value.step)]}
        case torch.device():
            return {"device": str(value)}
        case tuple():
            return {"tuple": [encode(item) for item in value]}
        case list():
            return [encode(item) for item in value]
    for mark, table in _TABLES.items():
        name = name_in(table, value)
        if name is not None:
            return {mark: name}
    raise UnsupportedError(
        f"save: an argument is {value!r:.80} ({type(value).__name__}); a saved graph holds "
        f"numbers, text, sizes, dtypes and nodes; make it an input or a buffer of the model."
    )


_TABLES: dict[str, dict[str, Any]] = {
    "dtype": DTYPES,
    "memory_format": _MEMORY_FORMATS,
    "layout": _LAYOUTS,
}


def decode(value: Any, nodes: Mapping[str, fx.Node], depth: int = 0) -> Any:
    """The value that `encode` wrote; `nodes` are those already built, so a graph cannot refer to
    itself.

    Raises:
        FormatError: if `value` is not of that form.
    """
    if depth > MAX_DEPTH:
        raise FormatError(
            f"load: an argument is nested deeper than {MAX_DEPTH}; no operator takes such a value."
        )
    match value:
        case None | bool() | str():
            return value
        case int():
            if value not in _INT64:
                raise FormatError(f"load: the integer {str(value)[:40]} does not fit 64 bits.")
            return value
        case float():
            return value
        case list():
            return [decode(item, nodes, depth + 1) for item in value]
        case {"node": str(name)} if len(value) == 1:
            if name not in nodes:
                raise FormatError(f"load: a node reads {name[:80]!r}, which no earlier node makes.")
            return nodes[name]
        case {"tuple": list(items)} if len(value) == 1:
            return tuple(decode(item, nodes, depth + 1) for item in items)
        case {"slice": [start, stop, step]} if len(value) == 1:
            return slice(*(decode(part, nodes, depth + 1) for part in (start, stop, step)))
        case {"float": "inf" | "-inf" | "nan" as text} if len(value) == 1:
            return float(text)
        case {"device": str(text)} if len(value) == 1 and _DEVICE.fullmatch(text):
            return torch.device(text)
    if isinstance(value, dict) and len(value) == 1:
        ((mark, name),) = value.items()
        if isinstance(name, str) and name in _TABLES.get(mark, {}):
            return _TABLES[mark][name]
    raise FormatError(
        f"load: {str(value)[:80]} is not a value of a graph; the file is damaged or of another "
        "version."
    )


_CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "dict": dict,
    "ordered": OrderedDict,
}


def encode_structure(spec: pytree.TreeSpec) -> Any:
    """The nesting of inputs or results as JSON.

    >>> encode_structure(pytree.tree_structure({"a": 1, "b": (2, [3])}))
    {'dict': [['a', '*'], ['b', {'tuple': ['*', {'list': ['*']}]}]]}

    Raises:
        UnsupportedError: if it holds anything but tuples, lists, dicts and ordered dicts with text
            or integer keys.
    """
    return _encode_nest(pytree.tree_unflatten([LEAF] * spec.num_leaves, spec))


def _encode_nest(nest: Any) -> Any:
    kind = next((name for name, container in _CONTAINERS.items() if type(nest) is container), None)
    if nest == LEAF:
        return LEAF
    if kind in ("list", "tuple"):
        return {kind: [_encode_nest(item) for item in nest]}
    if kind is not None and all(type(key) in (str, int) for key in nest):
        return {kind: [[key, _encode_nest(item)] for key, item in nest.items()]}
    raise UnsupportedError(
        f"save: the inputs or results hold a {type(nest).__name__}; a saved network takes and "
        f"returns tensors in tuples, lists and dicts with text or integer keys; return one of "
        "those."
    )


def decode_structure(value: Any) -> pytree.TreeSpec:
    """The nesting that `encode_structure` wrote.

    Raises:
        FormatError: if `value` is not of that form.
    """
    return pytree.tree_structure(_decode_nest(value, 0))


def _decode_nest(value: Any, depth: int) -> Any:
    match value:
        case "*":
            return LEAF
        case {"list": list(items)} | {"tuple": list(items)} if (
            len(value) == 1 and depth < MAX_DEPTH
        ):
            nest = [_decode_nest(item, depth + 1) for item in items]
            return nest if "list" in value else tuple(nest)
        case {"dict": list(items)} | {"ordered": list(items)} if (
            len(value) == 1 and depth < MAX_DEPTH
        ):
            pairs = [_pair(item, depth) for item in items]
            if len({key for key, _ in pairs}) == len(pairs):
                return dict(pairs) if "dict" in value else OrderedDict(pairs)
    raise FormatError(
        f"load: {str(value)[:80]} is not a nest of tuples, lists and dicts; the file is damaged "
        "or of another version."
    )


def _pair(item: Any, depth: int) -> tuple[str | int, Any]:
    match item:
        case [str() | int() as key, value]:
            return key, _decode_nest(value, depth + 1)
    raise FormatError(f"load: {str(item)[:80]} is not a key with its value; the file is damaged.")

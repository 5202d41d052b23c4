# SPDX-License-Identifier: Apache-2.0
"""Writing a captured network: one JSON file for the graph, one safetensors file for the values, nothing executable."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import fx, nn

from convsmith.capture import operators
from convsmith.capture.encoding import DTYPES, encode, encode_structure, name_in
from convsmith.capture.graph import Captured, arguments, module_path
from convsmith.capture.network import Network
from convsmith.capture.loading import put_together
from convsmith.capture.record import FORMAT, GRAPH_FILE, TENSOR_FILE, VERSION
from convsmith.capture.shapes import compute_shapes
from convsmith.capture.sizes import Input
from convsmith.errors import ArgumentError, FormatError, UnsupportedError


def save(
    captured: Captured | Network,
    folder: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a captured network to a folder: `graph.json` and `model.safetensors`.

    The folder appears whole or not at all: both files are written beside it and renamed into place. A folder that holds a
    convsmith model is replaced; any other is left alone and refused.

    Args:
        captured: What `capture` or `load` gave.
        folder: Where to write; its parent must exist.
        about: JSON-like facts that travel with the network (preprocessing, labels); `load(folder).about` gives them back.

    Raises:
        UnsupportedError: if the graph calls operators outside the table of those that may be loaded; all are listed.
        ArgumentError: if `about` is not JSON-like.
        FormatError: if the folder exists and is not a convsmith model.

    >>> import tempfile
    >>> from convsmith.capture import capture, load
    >>> captured = capture(torch.nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8))
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     save(captured, f"{parent}/model", about={"mean": [0.5, 0.5, 0.5]})
    ...     network = load(f"{parent}/model")
    >>> network.about["mean"], network(torch.zeros(4, 3, 9, 9)).shape
    ([0.5, 0.5, 0.5], torch.Size([4, 8, 7, 7]))
    """
    network = captured.module if isinstance(captured, Captured) else captured
    target = Path(folder).absolute()
    _check_replaceable(target)
    _check_runs(network)
    tensors = dict(_tensors(network))
    text = _json(record_of(network, tensors) | ({} if about is None else {"about": dict(about)}))
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as parent:
        written = Path(parent, "new")
        written.mkdir()
        (written / GRAPH_FILE).write_text(text, encoding="utf-8")
        values = {name: tensor.detach().contiguous() for name, tensor in _owned(tensors).items()}
        save_file(values, written / TENSOR_FILE, metadata={"format": FORMAT})
        _put(written, target, Path(parent, "old"))


def taken_apart(network: Network) -> tuple[Any, ...]:
    """For pickle and copies between processes: the same record and values that a saved folder holds."""
    tensors = dict(_tensors(network))
    return put_together, (_json(record_of(network, tensors)), _owned(tensors))


def _json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, allow_nan=False, indent=1)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(
            f"save: about is not JSON-like: {error}; use text, finite numbers, lists and dicts."
        ) from None


def _check_runs(network: Network) -> None:
    """What is saved must load, so a network that was cast or edited after capture is tried first."""
    try:
        compute_shapes(network, network.contract.inputs)
    except Exception as error:  # any operator may raise anything
        raise ArgumentError(
            f"save: the network does not run on the inputs it was captured for ({network.contract.describe()}): "
            f"{str(error).strip()[:200]}; was it cast or edited since? Capture it again in its new form."
        ) from error


def _put(written: Path, target: Path, aside: Path) -> None:
    """Rename the new folder into place; the old one goes aside first, for no system renames over a full folder."""
    if target.exists():
        target.rename(aside)
    try:
        written.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise


def _check_replaceable(target: Path) -> None:
    if not target.parent.is_dir():
        raise ArgumentError(f"save: the folder {target.parent} does not exist; create it first.")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise FormatError(f"save: {target} is not a folder; choose another name.")
    if target.exists():
        found = {entry.name for entry in target.iterdir()}
        if found - {GRAPH_FILE, TENSOR_FILE} or (found and GRAPH_FILE not in found):
            raise FormatError(
                f"save: {target} holds {sorted(found)[:5]} and is no convsmith model; it is left alone; "
                f"choose another folder or remove it."
            )


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _owned(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every tensor under the first of its names."""
    first = {id(tensor): name for name, tensor in reversed(tensors.items())}
    return {name: tensors[name] for name in tensors if first[id(tensors[name])] == name}


def record_of(network: Network, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What graph.json says of a network."""
    _refuse_unknown_operators(network.graph)
    info = network.graph._codegen.pytree_info
    output = network.graph.output_node()
    return {
        "format": FORMAT,
        "version": VERSION,
        "class_name": network.class_name[:200],
        "argument_names": list(info.orig_args),
        "input_structure": encode_structure(info.in_spec),
        "output_structure": encode_structure(info.out_spec),
        "inputs": [_input(item) for item in network.contract.inputs],
        "guards": list(network.contract.guards),
        "tensors": _tensor_records(tensors),
        "nodes": [_node(node) for node in network.graph.nodes if node is not output],
        "results": [encode(value) for value in output.args[0]],
        "about": network.about,
    }


def _refuse_unknown_operators(graph: fx.Graph) -> None:
    called = {operators.name_of(node.target) for node in graph.nodes if node.op == "call_function"}
    called |= {
        f"{node.op} {node.target}"
        for node in graph.nodes
        if node.op in ("call_module", "call_method")
    }
    unknown = sorted(called - operators.ALLOWED)
    if unknown:
        raise UnsupportedError(
            f"save: the network calls {', '.join(unknown)}; only operators of a fixed table can be saved, so that a file "
            f"cannot call anything else; rewrite these parts with the operators of convolutional networks."
        )


def _input(item: Input) -> dict[str, Any]:
    if not item.is_tensor:
        return {"name": item.name, "constant": encode(item.constant)}
    return {
        "name": item.name,
        "sizes": list(item.sizes),
        "free": list(item.free),
        "dtype": _dtype(item.dtype),
    }


def _dtype(dtype: torch.dtype) -> str:
    name = name_in(DTYPES, dtype)
    if name is None:
        raise UnsupportedError(
            f"save: a tensor has dtype {dtype}; those that can be saved are {', '.join(DTYPES)}."
        )
    return name


def _tensor_records(tensors: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """One record a name; a tensor under two names is stored once."""
    owners = {id(tensor): name for name, tensor in _owned(tensors).items()}
    records = []
    for name, tensor in tensors.items():
        owner = owners[id(tensor)]
        records.append(
            {
                "name": name,
                "kind": "parameter" if isinstance(tensor, nn.Parameter) else "buffer",
                "dtype": _dtype(tensor.dtype),
                "shape": list(tensor.shape),
                "memory_format": _memory_format(tensor),
                "requires_grad": tensor.requires_grad,
                "same_as": None if owner == name else owner,
            }
        )
    return records


def _memory_format(tensor: torch.Tensor) -> str:
    if not tensor.is_contiguous():
        for name in ("channels_last", "channels_last_3d"):
            layout = getattr(torch, name)
            if tensor.dim() == (5 if name.endswith("3d") else 4) and tensor.is_contiguous(
                memory_format=layout
            ):
                return name
    return "contiguous_format"


def _node(node: fx.Node) -> dict[str, Any]:
    if node.op == "placeholder":
        return {"name": node.name, "op": "input", "target": str(node.target)}
    if node.op == "get_attr":
        return {"name": node.name, "op": "tensor", "target": str(node.target)}
    if isinstance(node.target, torch._ops.OpOverload):
        named = arguments(node)
    else:
        names = (name for name, _, _ in operators.argument_names(node.target))
        named = dict(zip(names, node.args, strict=True))
    return {
        "name": node.name,
        "op": "call",
        "target": operators.name_of(node.target),
        "arguments": {name: encode(value) for name, value in named.items()},
        "module": module_path(node),
    }

# SPDX-License-Identifier: Apache-2.0
"""Writing a captured network: one JSON file for the graph, one safetensors file for the values,
nothing executable.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from convsmith.capture.building import put_together
from convsmith.capture.graph import Captured
from convsmith.capture.network import Network
from convsmith.capture.quiet import quiet
from convsmith.capture.record import FORMAT, GRAPH_FILE, TENSOR_FILE
from convsmith.capture.recording import owned, record_of, tensors_of
from convsmith.capture.shapes import compute_shapes
from convsmith.errors import ArgumentError, FormatError


def save(
    captured: Captured | Network,
    folder: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a captured network to a folder: `graph.json` and `model.safetensors`.

    The folder appears whole or not at all: both files are written beside it and renamed into place.
    A folder that holds a convsmith model is replaced; any other is left alone and refused.

    Args:
        captured: What `capture` or `load` gave.
        folder: Where to write; its parent must exist.
        about: JSON-like facts that travel with the network (preprocessing, labels);
            `load(folder).about` gives them back.

    Raises:
        UnsupportedError: if the graph calls operators outside the table of those that may be
            loaded; all are listed.
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
    tensors = tensors_of(network)
    text = _json(record_of(network, tensors) | ({} if about is None else {"about": dict(about)}))
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as parent:
        written = Path(parent, "new")
        written.mkdir()
        (written / GRAPH_FILE).write_text(text, encoding="utf-8")
        values = {name: tensor.detach().contiguous() for name, tensor in owned(tensors).items()}
        save_file(values, written / TENSOR_FILE, metadata={"format": FORMAT})
        _put(written, target, Path(parent, "old"))


def taken_apart(network: Network) -> tuple[Any, ...]:
    """For pickle and copies between processes: the same record and values that a saved folder
    holds.
    """
    tensors = tensors_of(network)
    return put_together, (_json(record_of(network, tensors)), owned(tensors))


def _json(record: dict[str, Any]) -> str:
    try:
        return json.dumps(record, allow_nan=False, indent=1)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(
            f"save: about is not JSON-like: {error}; use text, finite numbers, lists and dicts."
        ) from None


def _check_runs(network: Network) -> None:
    """What is saved must load, so a network that was cast or edited after capture is tried
    first.
    """
    try:
        with quiet():
            compute_shapes(network, network.contract.inputs)
    except Exception as error:  # any operator may raise anything
        raise ArgumentError(
            f"save: the network does not run on the inputs it was captured for "
            f"({network.contract.describe()}): {str(error).strip()[:200]}; was it cast or edited "
            "since? Capture it again in its new form."
        ) from error


def _put(written: Path, target: Path, aside: Path) -> None:
    """Rename the new folder into place; the old one goes aside first, for no system renames over a
    full folder.
    """
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
                f"save: {target} holds {sorted(found)[:5]} and is no convsmith model; it is left "
                f"alone; choose another folder or remove it."
            )

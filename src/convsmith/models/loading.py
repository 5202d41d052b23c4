# SPDX-License-Identifier: Apache-2.0
"""Reading and writing weights. Nothing is unpickled that could run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from convsmith.errors import FormatError
from convsmith.models.network import Model, Network, StoredWeights
from convsmith.models.preprocess import Preprocess

_FORMAT = 1


def read_weights(path: Path, network: Network) -> StoredWeights:
    """The weights in a file, and what it tells about the network they are for.

    Raises:
        FormatError: if it is damaged, of no known kind or of another network.
    """
    if path.suffix == ".npz":
        if network.read_npz is None:
            raise FormatError(
                f"load_weights: {path.name} is an .npz, which is not known for {network.name}; "
                f"give .safetensors, .pth, .pt or .th"
            )
        return network.read_npz(path, network)
    tensors = read_state(path)
    description = path.with_suffix(".json")
    if path.suffix == ".safetensors" and description.exists():
        options, preprocess = _read_description(description, network)
        return StoredWeights(tensors=tensors, options=options, preprocess=preprocess)
    return StoredWeights(tensors=tensors)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names: `.safetensors`, `.pth`, `.pt` or `.th`.

    Raises:
        FormatError: if it is damaged, of no known kind, or holds other things than tensors.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise FormatError(f"load_weights: {path.name} is damaged: {error}") from None
    if path.suffix in (".pth", ".pt", ".th"):
        return _read_checkpoint(path)
    raise FormatError(
        f"load_weights: {path.name} ends with {path.suffix!r}; known are .safetensors, .pth, .pt, "
        f".th, and .npz for some networks"
    )


def save_weights(model: Model, path: Path, **facts: Any) -> None:
    """Write `path` (.safetensors) and, beside it, a .json of how to build the network, its
    preprocessing, and further facts such as its accuracy.

    Raises:
        FileExistsError: if one of the two is there already.
    """
    path, description = path.with_suffix(".safetensors"), path.with_suffix(".json")
    for file in (path, description):
        if file.exists():
            raise FileExistsError(
                f"save_weights: {file} exists and is not overwritten; move it or choose another"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    path.write_bytes(save(tensors))
    content = {
        "format": _FORMAT,
        "network": model.recipe.network,
        "options": dict(model.recipe.options),
        "preprocess": model.preprocess.to_json(),
        **facts,
    }
    description.write_text(json.dumps(content, indent=2) + "\n")


def load_state(model: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy tensors into a model whose names and shapes they match exactly.

    Raises:
        FormatError: see `require_match`.
    """
    require_match(model, tensors, source)
    model.load_state_dict(dict(tensors), strict=False)


def require_match(model: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Compare names and shapes with those of a model, which may be on the meta device.

    Counters of batch-norm (`num_batches_tracked`) may be missing: older files have none.

    Raises:
        FormatError: naming the first tensor that is missing, unexpected or of another shape.
    """
    who = f"load_weights: {Path(source).name}"
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            if name.endswith("num_batches_tracked"):
                continue
            raise FormatError(f"{who} has no tensor {name} of shape {tuple(tensor.shape)}")
        if tensors[name].shape != tensor.shape:
            raise FormatError(
                f"{who}: {name} has shape {tuple(tensors[name].shape)}; the network needs "
                f"{tuple(tensor.shape)}"
            )
    for name in tensors:
        if name not in expected:
            raise FormatError(
                f"{who} has a tensor {name} of shape {tuple(tensors[name].shape)} that the network "
                f"does not know"
            )


def _read_description(path: Path, network: Network) -> tuple[dict[str, Any], Preprocess]:
    try:
        content = json.loads(path.read_text())
        version, name, options = content["format"], content["network"], dict(content["options"])
        preprocess = Preprocess.from_json(content["preprocess"])
    except (ValueError, TypeError, KeyError) as error:  # a FormatError is a ValueError
        raise FormatError(f"load_weights: {path.name} is damaged: {error!r}") from None
    if version != _FORMAT or name != network.name:
        raise FormatError(
            f"load_weights: {path.name} says format {version!r} and network {name!r}; expected "
            f"format {_FORMAT} and network {network.name!r}"
        )
    return options, preprocess


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle or archive fails in any way it likes
        reason = f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"
        raise FormatError(f"load_weights: {path.name} cannot be read safely: {reason}") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise FormatError(
            f"load_weights: {path.name} holds {type(content).__name__}, not tensors by name"
        )
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}

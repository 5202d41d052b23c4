# SPDX-License-Identifier: Apache-2.0
"""Reading a saved network: every byte is checked against the record's schema, and the graph is
built from named operators.

A file is taken for hostile: names never reach generated code unless they match a pattern, operators
come from a table, sizes are compared before memory is asked for, and the finished graph must run on
fake tensors before it is handed out.
"""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from convsmith.capture.building import build
from convsmith.capture.network import Network
from convsmith.capture.record import (
    GRAPH_FILE,
    MAX_GRAPH_BYTES,
    TENSOR_FILE,
    TensorRecord,
    read_record,
)
from convsmith.errors import FormatError

_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


def load(folder: str | os.PathLike[str]) -> Network:
    """The network that `save` wrote, ready to run on the CPU; `.about` holds the facts that were
    saved with it.

    Raises:
        FormatError: if the folder is not a convsmith model, is damaged, hostile or of another
            version.

    Cost: reads the file once; no forward pass on real data.

    See `save` for an example.
    """
    place = Path(folder)
    record = read_record(_bytes(place / GRAPH_FILE))
    tensors = _read_tensors(_regular(place / TENSOR_FILE), record.tensors)
    return build(record, tensors)


def _regular(path: Path) -> Path:
    if path.is_symlink() or not path.is_file():
        raise FormatError(
            f"load: {path} is not a regular file; a convsmith model is a folder with {GRAPH_FILE} "
            f"and {TENSOR_FILE}."
        )
    return path


def _bytes(path: Path) -> bytes:
    with _regular(path).open("rb") as file:
        data = file.read(MAX_GRAPH_BYTES + 1)
    if len(data) > MAX_GRAPH_BYTES:
        raise FormatError(
            f"load: {path} is larger than {MAX_GRAPH_BYTES} bytes; no graph is; the file is "
            "damaged."
        )
    return data


def _read_tensors(path: Path, records: list[TensorRecord]) -> dict[str, torch.Tensor]:
    """The values, each compared with its record before memory is asked for."""
    named = {record.name: record for record in records}
    owners = {record.name for record in records if record.same_as is None}
    if len(named) != len(records):
        raise FormatError(f"load: {GRAPH_FILE} names a tensor twice; the file is damaged.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            stored = set(file.keys())
            if stored != owners:
                raise FormatError(
                    f"load: {TENSOR_FILE} lacks {sorted(owners - stored)[:5]} and has "
                    f"{sorted(stored - owners)[:5]} that {GRAPH_FILE} does not name; the two "
                    "files belong to different models."
                )
            for name in owners:
                _check_stored(file.get_slice(name), named[name])
            # A copy: torch's kernels round by alignment, and a view would change with the file.
            return {name: file.get_tensor(name).clone() for name in owners}
    except (SafetensorError, OSError) as error:
        raise FormatError(
            f"load: {TENSOR_FILE} is damaged: {error}; save the model again."
        ) from None


def _check_stored(stored: Any, record: TensorRecord) -> None:
    found = (_SAFETENSORS_DTYPES.get(stored.get_dtype()), list(stored.get_shape()))
    if found != (record.dtype, record.shape):
        raise FormatError(
            f"load: {record.name} is {found[0]} {found[1]} in {TENSOR_FILE} and {record.dtype} "
            f"{record.shape} in {GRAPH_FILE}; the two files belong to different models."
        )

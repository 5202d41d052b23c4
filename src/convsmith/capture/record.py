# SPDX-License-Identifier: Apache-2.0
"""What `graph.json` holds, as a strict schema: a file with anything more, less or else is refused.

graph.json          format, version, inputs, results, tensors, nodes, about
model.safetensors   the values of the tensors that graph.json names
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convsmith.errors import FormatError

FORMAT = "convsmith-model"
VERSION = 1
GRAPH_FILE = "graph.json"
TENSOR_FILE = "model.safetensors"
MAX_GRAPH_BYTES = 64 * 2**20
MAX_NODES = 100_000
MAX_TENSORS = 50_000
MAX_GUARDS = 1_000

# Names become identifiers or attribute paths of the network: no quotes, no dots but between parts,
# no dunders.
_Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")]
_Path = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_@+:\- ]{1,100}(\.[A-Za-z0-9_@+:\- ]{1,100}){0,31}$", max_length=1000
    ),
]
_Size = Annotated[int, Field(ge=0, lt=2**48)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class InputRecord(_Strict):
    """One leaf of the inputs; `dtype` is absent for a baked value."""

    name: _Identifier
    sizes: Annotated[list[_Size], Field(max_length=16)] = []
    free: Annotated[list[bool], Field(max_length=16)] = []
    dtype: str | None = None
    constant: Any = None


class TensorRecord(_Strict):
    """One parameter or buffer; `same_as` names the tensor that holds its values if two names share
    them.
    """

    name: _Path
    kind: Literal["parameter", "buffer"]
    dtype: str
    shape: Annotated[list[_Size], Field(max_length=16)]
    memory_format: Literal["contiguous_format", "channels_last", "channels_last_3d"] = (
        "contiguous_format"
    )
    requires_grad: bool = False
    same_as: _Path | None = None


class NodeRecord(_Strict):
    """One node: an input, a tensor (target: its name) or a call (target: its operator, arguments by
    name).
    """

    name: _Identifier
    op: Literal["input", "tensor", "call"]
    target: Annotated[str, Field(max_length=1000)]
    arguments: dict[_Identifier, Any] = {}
    module: Annotated[str, Field(max_length=1000)] = ""


class Record(_Strict):
    """The whole of graph.json."""

    format: Literal["convsmith-model"]
    version: Literal[1]
    class_name: Annotated[str, Field(max_length=200)]
    argument_names: Annotated[list[_Identifier], Field(max_length=1000)]
    input_structure: Any
    output_structure: Any
    inputs: Annotated[list[InputRecord], Field(max_length=1000)]
    guards: Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=MAX_GUARDS)]
    tensors: Annotated[list[TensorRecord], Field(max_length=MAX_TENSORS)]
    nodes: Annotated[list[NodeRecord], Field(max_length=MAX_NODES)]
    results: list[Any]
    about: dict[str, Any]


def read_record(data: bytes) -> Record:
    """The record in the bytes of a graph.json.

    Raises:
        FormatError: if they are not one, or of a version this convsmith does not know.
    """
    try:
        parsed = json.loads(
            data, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except (
        ValueError,
        RecursionError,
    ) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise FormatError(
            f"load: {GRAPH_FILE} is not JSON: {error}; save the model again."
        ) from None
    head = parsed if isinstance(parsed, dict) else {}
    if head.get("format") != FORMAT:
        raise FormatError(
            f"load: {GRAPH_FILE} has format {str(head.get('format'))[:80]!r}, expected {FORMAT!r}."
        )
    if type(head.get("version")) is not int or head["version"] != VERSION:
        raise FormatError(
            f"load: {GRAPH_FILE} has version {str(head.get('version'))[:80]}, this convsmith "
            f"reads {VERSION}; use the convsmith that wrote it, or a newer one."
        )
    try:
        return Record.model_validate(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"])
        raise FormatError(
            f"load: {GRAPH_FILE} is damaged at {place}: {first['msg']} ({error.error_count()} "
            "places); save the model again."
        ) from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")

# SPDX-License-Identifier: Apache-2.0
"""Hostile and damaged folders: a FormatError, or a network that loads; never anything else."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from convsmith.capture import Network, capture, load, save
from convsmith.capture.record import GRAPH_FILE, TENSOR_FILE
from convsmith.errors import FormatError

from .networks import EncoderDecoder, Functional, randn

SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    save(capture(EncoderDecoder(), randn(2, 1, 8, 8)), folder, about={"mean": [0.5]})
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    graph = json.loads((folder / GRAPH_FILE).read_text())
    change(graph)
    (folder / GRAPH_FILE).write_text(json.dumps(graph))


def node(graph: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in graph["nodes"] if item["name"] == name)


def loads_or_refuses(folder: Path) -> None:
    try:
        assert isinstance(load(folder), Network)
    except FormatError:
        pass


def mutated(data: bytes, at: int, new: bytes, cut: int) -> bytes:
    at %= len(data) + 1
    return data[:at] + new + data[at + cut :]


BYTES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [b"9" * 30, b"-1", b"null", b"[[[[", b'"x"', b"1e999", b"{}", b"true", b'"', b","]
    ),
)


@pytest.mark.slow
@SETTINGS
@given(at=st.integers(0, 10**6), new=BYTES, cut=st.integers(0, 8))
def test_damaged_graph_bytes(saved: Path, tmp_path: Path, at: int, new: bytes, cut: int) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    data = (saved / GRAPH_FILE).read_bytes()
    (tmp_path / GRAPH_FILE).write_bytes(mutated(data, at, new, cut))
    loads_or_refuses(tmp_path)


@SETTINGS
@given(at=st.integers(0, 10**4), new=BYTES, cut=st.integers(0, 8))
@example(at=0, new=b"\xff" * 8, cut=8)
def test_damaged_tensor_bytes(saved: Path, tmp_path: Path, at: int, new: bytes, cut: int) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    data = (saved / TENSOR_FILE).read_bytes()
    (tmp_path / TENSOR_FILE).write_bytes(mutated(data, at, new, cut))
    loads_or_refuses(tmp_path)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, item in inside:
            found += places(item, (*path, key)) if isinstance(item, dict | list) else [(*path, key)]
    return found


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        [
            *(
                {"node": "conv2d"},
                {"node": "x"},
                {"tuple": []},
                {"dtype": "int64"},
                {"float": "nan"},
            ),
            *({"slice": [0, None, 2]}, {"device": "cuda:7"}, {"memory_format": "channels_last"}),
            *(
                [],
                {},
                [[]],
                [2**40],
                [-1, -1],
                "aten.relu.default",
                "aten.add.Tensor",
                "operator.getitem",
            ),
        ]
    ),
)


@pytest.mark.slow
@SETTINGS
@given(data=st.data())
def test_damaged_graph_values(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    graph = json.loads((saved / GRAPH_FILE).read_text())
    *path, last = data.draw(st.sampled_from(places(graph)))
    place = graph
    for key in path:
        place = place[key]
    if data.draw(st.booleans()):
        place[last] = data.draw(VALUES)
    elif isinstance(place, list):
        place.insert(0, data.draw(VALUES))
    else:
        del place[last]
    (tmp_path / GRAPH_FILE).write_text(json.dumps(graph))
    loads_or_refuses(tmp_path)

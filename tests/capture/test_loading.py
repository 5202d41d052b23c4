# SPDX-License-Identifier: Apache-2.0
"""Hostile and damaged folders: a FormatError, or a network that loads; never anything else."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

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
    with suppress(FormatError):
        assert isinstance(load(folder), Network)


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


def check_edit(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    edit(folder, change)
    with pytest.raises(FormatError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(format="keras"), r"has format 'keras', expected 'convsmith-model'"),
        (lambda g: g.update(version=2), r"has version 2, this convsmith reads 1"),
        (lambda g: g.update(version=True), r"has version True, this convsmith reads 1"),
        (lambda g: g.update(extra=1), r"damaged at extra: Extra inputs are not permitted"),
        (lambda g: g.pop("guards"), r"damaged at guards: Field required"),
        (lambda g: g.update(nodes=[]), r"no node reads the tensors \['down.bias'"),
        (
            lambda g: g.update(inputs=[], guards=[]),
            r"0 inputs and 1 results do not fit structures of 1 and 1",
        ),
        (
            lambda g: (g["inputs"][0].update(name="z"), g.update(guards=[])),
            r"graph's inputs are \['x'\], described are \['z'\]",
        ),
        (lambda g: g["inputs"][0].update(dtype="float4"), r"description of input x is damaged"),
        (lambda g: g["inputs"][0].update(name="x y"), r"damaged at inputs.0.name: .* pattern"),
        (
            lambda g: g["inputs"][0].update(sizes=[2, 5, 8, 8]),
            r"does not run on its recorded inputs",
        ),
        (lambda g: g["guards"].append("__import__('os')"), r"holds a damaged guard: `__import__"),
        (lambda g: g.update(argument_names=["y", "z"]), r"named \['y', 'z'\], which does not fit"),
        (lambda g: g.update(argument_names=[]), r"0 inputs are named \[\], their structure has"),
        (lambda g: g.update(argument_names=["x", "x"]), r"inputs are named \['x', 'x'\]"),
        (lambda g: g.update(input_structure="*"), r"not a tuple of positional and a dict"),
        (
            lambda g: g.update(output_structure={"list": 3}),
            r"\{'list': 3\} is not a nest of tuples",
        ),
        (
            lambda g: g.update(output_structure={"dict": [3]}),
            r"load: 3 is not a key with its value",
        ),
        (
            lambda g: g.update(results=[{"node": "nobody"}]),
            r"reads 'nobody', which no earlier node",
        ),
        (
            lambda g: g.update(results=[{"pickle": "x"}]),
            r"\{'pickle': 'x'\} is not a value of a graph",
        ),
        (
            lambda g: g.update(results=[2**70]),
            r"the integer 1180591620717411303424 does not fit 64",
        ),
        (lambda g: g.update(results=[nested(40)]), r"nested deeper than 16"),
    ],
)
def test_damaged_record(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    check_edit(folder, change, message)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "cat",
            {"target": "aten.from_file.default"},
            r"calls 'aten.from_file.default', which is not",
        ),
        ("cat", {"target": "os.system"}, r"node cat calls 'os.system', which is not an operator"),
        ("cat", {"target": "aten.relu_.default"}, r"calls 'aten.relu_.default', which is not"),
        (
            "cat",
            {"arguments": {"dim": 1}},
            r"gives aten.cat.default the arguments \['dim'\]; it takes",
        ),
        ("cat", {"arguments": {"tensors": 1, "axis": 1}}, r"the arguments \['axis', 'tensors'\]"),
        ("cat", {"name": "conv2d"}, r"two nodes are named conv2d"),
        ("cat", {"name": "x', os.system('true')"}, r"damaged at nodes.*name: .* pattern"),
        ("cat", {"name": "max"}, r"load: max cannot name a node"),
        (
            "cat",
            {"arguments": {"tensors": [{"node": "cat"}]}},
            r"reads 'cat', which no earlier node",
        ),
        ("x", {"target": "x=1"}, r"input x is called 'x=1', which is not a name"),
        ("x", {"arguments": {"a": 1}}, r"node x is an input and takes no arguments"),
        ("up_weight", {"target": "up.bias"}, r"no node reads the tensors \['up.weight'\]"),
        ("up_weight", {"target": "__class__"}, r"reads the tensor '__class__', which graph.json"),
    ],
)
def test_damaged_node(folder: Path, name: str, change: dict[str, Any], message: str) -> None:
    check_edit(folder, lambda graph: node(graph, name).update(change), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [4, 4, 2, 3]}, r"up.weight is float32 \[4, 4, 2, 2\] .* float32 \[4, 4, 2, 3\]"),
        ({"dtype": "int32"}, r"up.weight is float32 .* and int32 \[4, 4, 2, 2\]"),
        ({"shape": [2**50]}, r"damaged at tensors.*shape.0: Input should be less than"),
        ({"memory_format": "channels_last_3d"}, r"\[4, 4, 2, 2\] cannot be channels_last_3d"),
        ({"same_as": "out.weight"}, r"lacks \[\] and has \['up.weight'\]"),
        ({"name": "out.weight"}, r"names a tensor twice"),
        ({"name": "../weight"}, r"damaged at tensors.*name: .* pattern"),
        ({"name": "other"}, r"lacks \['other'\] and has \['up.weight'\]"),
    ],
)
def test_damaged_tensor_record(folder: Path, change: dict[str, Any], message: str) -> None:
    def apply(graph: dict[str, Any]) -> None:
        next(t for t in graph["tensors"] if t["name"] == "up.weight").update(change)

    check_edit(folder, apply, message)


def rename_tensor(folder: Path, old: str, new: str, **more: Any) -> None:
    """Rename a tensor in both files, as a hostile writer would."""
    values = load_file(folder / TENSOR_FILE)
    values[new] = values.pop(old)
    save_file(values, folder / TENSOR_FILE)

    def apply(graph: dict[str, Any]) -> None:
        next(t for t in graph["tensors"] if t["name"] == old).update(name=new, **more)
        next(n for n in graph["nodes"] if n["target"] == old).update(target=new)

    edit(folder, apply)


@pytest.mark.parametrize("name", ["forward", "meta.weight", "graph", "down", "down.weight.deeper"])
def test_tensor_names_that_would_hide_something(folder: Path, name: str) -> None:
    rename_tensor(folder, "up.weight", name)
    with pytest.raises(FormatError, match=rf"a tensor cannot be named '{name}'"):
        load(folder)


def test_shared_tensors_must_exist(folder: Path) -> None:
    values = load_file(folder / TENSOR_FILE)
    del values["up.bias"]
    save_file(values, folder / TENSOR_FILE)

    def share(graph: dict[str, Any]) -> None:
        next(t for t in graph["tensors"] if t["name"] == "up.bias").update(same_as="nobody")

    check_edit(folder, share, r"up.bias shares nobody, which is no earlier parameter")


def test_integer_parameters_have_no_gradient(folder: Path) -> None:
    values = load_file(folder / TENSOR_FILE)
    values["up.bias"] = values["up.bias"].to(torch.int32)
    save_file(values, folder / TENSOR_FILE)

    def cast(graph: dict[str, Any]) -> None:
        next(t for t in graph["tensors"] if t["name"] == "up.bias").update(dtype="int32")

    check_edit(folder, cast, r"up.bias of dtype int32 cannot require a gradient")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"graph.json is not JSON"),
        (b"\xff\xfe", r"graph.json is not JSON"),
        (b"[" * 100_000, r"graph.json is not JSON"),
        (b'{"format": NaN}', r"NaN is not JSON"),
        (b'{"a": 1, "a": 2}', r"an object names a key twice"),
        (b"[]", r"has format 'None'"),
        (b'{"format": ' + b"9" * 5000 + b"}", r"graph.json is not JSON"),
    ],
)
def test_bytes_that_are_no_record(folder: Path, data: bytes, message: str) -> None:
    (folder / GRAPH_FILE).write_bytes(data)
    with pytest.raises(FormatError, match=message):
        load(folder)


def test_files_must_be_regular_and_small(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FormatError, match=r"nowhere/graph.json is not a regular file"):
        load(tmp_path / "nowhere")
    os.rename(folder / TENSOR_FILE, tmp_path / "elsewhere")
    (folder / TENSOR_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FormatError, match=r"model.safetensors is not a regular file"):
        load(folder)
    monkeypatch.setattr("convsmith.capture.loading.MAX_GRAPH_BYTES", 10)
    with pytest.raises(FormatError, match=r"is larger than 10 bytes"):
        load(folder)


def test_damaged_tensor_file(folder: Path) -> None:
    (folder / TENSOR_FILE).write_bytes(b"\xff" * 64)
    with pytest.raises(FormatError, match=r"model.safetensors is damaged"):
        load(folder)


def test_loading_copies_the_values(folder: Path) -> None:
    network = load(folder)
    before = network.up.weight.clone()
    (folder / TENSOR_FILE).write_bytes(b"\0" * (folder / TENSOR_FILE).stat().st_size)
    assert torch.equal(network.up.weight, before)


def test_functional_network_shares_one_constant(tmp_path: Path) -> None:
    captured = capture(Functional(), randn(2, 3, 8, 8))
    save(captured, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert [type(t) for t in loaded.state_dict(keep_vars=True).values()] == [
        type(t) for t in captured.module.state_dict(keep_vars=True).values()
    ]

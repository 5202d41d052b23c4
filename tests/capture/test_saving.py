# SPDX-License-Identifier: Apache-2.0
"""Saving and loading: the same network comes back, bit for bit, or a clear error does."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from convsmith.capture import Captured, capture, load, save
from convsmith.errors import ArgumentError, FormatError, UnsupportedError

from .networks import CASES, Case, assert_equal, randn


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def captured(case: Case) -> Captured:
    return capture(case.model(), case.example, kwargs=case.kwargs)


@torch.no_grad()
def test_loaded_network_is_bit_equal(case: Case, captured: Captured, tmp_path: Path) -> None:
    save(captured, tmp_path / "model", about={"labels": ["a", "b"]})
    loaded = load(tmp_path / "model")
    kwargs = case.kwargs or {}
    for inputs in (case.example, *case.others):
        assert_equal(loaded(*inputs, **kwargs), captured.module(*inputs, **kwargs))
    assert loaded.about == {"labels": ["a", "b"]}
    assert loaded.contract == captured.contract
    assert list(loaded.state_dict()) == list(captured.module.state_dict())
    assert [str((n.target, n.args, n.kwargs)) for n in loaded.graph.nodes] == [
        str((n.target, n.args, n.kwargs)) for n in captured.graph.nodes
    ]


@torch.no_grad()
def test_pickled_network_is_bit_equal(case: Case, captured: Captured) -> None:
    twin = pickle.loads(pickle.dumps(captured.module))
    kwargs = case.kwargs or {}
    assert_equal(twin(*case.example, **kwargs), captured.module(*case.example, **kwargs))


def test_channels_last_and_ties_come_back(tmp_path: Path) -> None:
    network = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8)).module
    network.to(memory_format=torch.channels_last)
    network.register_parameter("twin", network.weight)
    weight = next(node for node in network.graph.nodes if node.target == "weight")
    with network.graph.inserting_before(weight):
        weight.replace_all_uses_with(network.graph.get_attr("twin"))
    output = network.graph.output_node()
    output.args = ((*output.args[0], weight),)
    network.graph._codegen.pytree_info = network.pytree_info._replace(
        out_spec=pytree.tree_structure((0, 0))
    )
    save(network, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(loaded.weight, network.weight)
    assert loaded.twin is loaded.weight


def test_a_model_is_replaced_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    captured = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8))
    folder = tmp_path / "model"
    save(captured, folder, about={"round": 1})
    save(captured, folder, about={"round": 2})
    assert load(folder).about == {"round": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match=r"holds .*'notes.txt'.* is no convsmith model"):
        save(captured, folder)
    with pytest.raises(FormatError, match=r"notes.txt is not a folder"):
        save(captured, folder / "notes.txt")
    with pytest.raises(ArgumentError, match=r"nowhere does not exist; create it first"):
        save(captured, tmp_path / "nowhere" / "model")
    assert (folder / "notes.txt").read_text() == "mine"


def test_failed_rename_puts_the_old_model_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8))
    save(captured, tmp_path / "model", about={"round": 1})
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk full"):
        save(captured, tmp_path / "model", about={"round": 2})
    assert load(tmp_path / "model").about == {"round": 1}


def test_about_travels_on_and_must_be_json(tmp_path: Path) -> None:
    captured = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8))
    save(captured, tmp_path / "first", about={"mean": [0.5], "labels": {"a": None}})
    save(load(tmp_path / "first"), tmp_path / "second")
    assert load(tmp_path / "second").about == {"mean": [0.5], "labels": {"a": None}}
    for about in ({"x": {1, 2}}, {"x": float("nan")}):
        with pytest.raises(ArgumentError, match=r"about is not JSON-like"):
            save(captured, tmp_path / "third", about=about)
    assert not (tmp_path / "third").exists()


class Point(NamedTuple):
    """A result that is no plain tuple."""

    x: torch.Tensor
    y: torch.Tensor


class Odd(nn.Module):
    """Results and operators that cannot be saved."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("phase", torch.ones(1, dtype=torch.complex128))

    def forward(self, x: torch.Tensor) -> object:
        match self.kind:
            case "operators":
                return torch.lgamma(x) + torch.special.i0(x)
            case "named tuple":
                return Point(x + 1, x + 2)
            case "complex":
                return x + 1j
            case "dtype":
                return x * self.phase
            case _:
                return OrderedDict(out=x + 1, aux={0: x * float("inf")})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("operators", r"calls aten.lgamma.default, aten.special_i0.default; only operators of a"),
        ("named tuple", r"hold a Point; a saved network takes and returns tensors in tuples"),
        ("complex", r"an argument is 1j \(complex\)"),
        ("dtype", r"a tensor has dtype torch.complex128; those that can be saved are float64"),
    ],
)
def test_what_cannot_be_saved_is_named(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message):
        save(capture(Odd(kind), randn(2, 3)), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_ordered_dicts_and_infinities_come_back(tmp_path: Path) -> None:
    captured = capture(Odd("ordered"), randn(2, 3))
    save(captured, tmp_path / "model")
    assert_equal(load(tmp_path / "model")(randn(5, 3)), captured.module(randn(5, 3)))


def test_network_that_no_longer_runs_is_not_saved(tmp_path: Path) -> None:
    captured = capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8))
    captured.module.half()
    with pytest.raises(ArgumentError, match=r"does not run on the inputs it was captured for"):
        save(captured, tmp_path / "model")


def test_nothing_is_pickled(tmp_path: Path) -> None:
    save(capture(nn.Conv2d(3, 4, 3), randn(2, 3, 8, 8)), tmp_path / "model")
    assert sorted(entry.name for entry in (tmp_path / "model").iterdir()) == [
        "graph.json",
        "model.safetensors",
    ]
    graph = json.loads((tmp_path / "model" / "graph.json").read_text())
    assert [node["target"] for node in graph["nodes"] if node["op"] == "call"] == [
        "aten.conv2d.default"
    ]

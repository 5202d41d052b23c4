# SPDX-License-Identifier: Apache-2.0
"""What MODEL, --weights and --input may be, and what each is told when it is something else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import convsmith as cs
from convsmith.cli import subject
from convsmith.errors import ArgumentError

NETWORK = """
from torch import nn

def build():
    return nn.Conv2d(3, 4, 3)
"""


@pytest.fixture(autouse=True)
def _my_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import sys

    (tmp_path / "mine.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("mine", None)


def find(model: str | None, weights: Path | None = None, shape: str | None = None):
    return subject.find(model, weights, shape, 0)


def test_nothing_is_the_embedded_network() -> None:
    found = find(None)
    assert found.name == subject.DEFAULT
    assert found.example.shape == (1, 1, 32, 32)
    embedded = cs.models.create(subject.DEFAULT, weights="embedded").state_dict()
    assert all(torch.equal(found.model.state_dict()[name], t) for name, t in embedded.items())


def test_a_name_brings_its_input_and_preprocessing() -> None:
    found = find("resnet20", shape="2,3,40,36")
    assert found.example.shape == (2, 3, 40, 36)
    assert found.preprocess == found.model.preprocess


def test_an_import_path_takes_its_own_weights(tmp_path: Path) -> None:
    state = nn.Conv2d(3, 4, 3).state_dict()
    save_file(state, tmp_path / "mine.safetensors")
    found = find("mine:build", tmp_path / "mine.safetensors", "1,3,8,8")
    assert torch.equal(found.model.weight, state["weight"])
    assert found.preprocess is None


def test_a_saved_folder_brings_what_it_was_saved_with(tmp_path: Path) -> None:
    optimized = cs.optimize(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8), timing=False)
    steps = cs.models.create("resnet20").preprocess
    about = {"input_shape": [1, 3, 8, 8], "preprocess": steps.to_json()}
    optimized.save(tmp_path / "saved", about=about)
    found = find(str(tmp_path / "saved"))
    assert found.example.shape == (1, 3, 8, 8)
    assert found.preprocess == steps
    with pytest.raises(ArgumentError, match="a saved folder has its weights; leave out --weights"):
        find(str(tmp_path / "saved"), Path("w.pth"))


@pytest.mark.parametrize("path", ["nowhere:build", "mine:absent"])
def test_what_cannot_be_imported_is_named(path: str) -> None:
    with pytest.raises(
        ArgumentError, match=r"MODEL \w+:\w+: .*; give package.module:callable, imp"
    ):
        find(path, shape="1,3,8,8")


def test_a_builder_that_fails_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def build():\n    raise ValueError('boom')\n")
    with pytest.raises(
        ArgumentError, match=r"MODEL mine:build: calling it raised ValueError: boom"
    ):
        find("mine:build", shape="1,3,8,8")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(nn.Conv2d(3, 5, 3).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ArgumentError, match=r"--weights \S+ do not fit: Error"):
        find("mine:build", tmp_path / "other.safetensors", "1,3,8,8")


def test_an_input_nobody_named_is_asked_for() -> None:
    with pytest.raises(ArgumentError, match="--input: nobody said what this model takes; give its"):
        find("mine:build")


@pytest.mark.parametrize("shape", ["1,x", "1,-3,8,8", ""])
def test_an_input_that_is_no_shape_is_refused(shape: str) -> None:
    with pytest.raises(ArgumentError, match=r"--input .*: it is no shape; give sizes like 1,3,224"):
        find("mine:build", shape=shape)


def test_an_input_that_no_memory_holds_is_refused_where_numbers_are_asked_for() -> None:
    found = find("mine:build", shape="1,3,9999999999,9999999999")
    with pytest.raises(ArgumentError, match=r"--input 1,3,9999.*: .*; give a smaller one"):
        _ = found.example


def test_a_listed_network_has_the_width_that_is_asked_for(tmp_path: Path) -> None:
    found = subject.find("mobilenet_v2", None, None, 0, width=0.25)
    assert found.model.recipe.options == {"width": 0.25}
    with pytest.raises(ArgumentError, match=r"--width 2: MODEL mine:build has the width it was"):
        subject.find("mine:build", None, "1,3,8,8", 0, width=2)

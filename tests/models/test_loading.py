# SPDX-License-Identifier: Apache-2.0
"""Weights that come back bit for bit, and files that do not hold what they should."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from convsmith import models
from convsmith.errors import FormatError

OPTIONS: dict[str, Any] = {"num_classes": 3, "width": 0.5}


def small(seed: int = 0) -> models.Model:
    torch.manual_seed(seed)
    return models.create("digits_vgg", **OPTIONS)


def assert_same_weights(a: models.Model, b: models.Model) -> None:
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[name]), name


def test_what_is_saved_is_created_again(tmp_path: Path) -> None:
    model = small()
    model.preprocess = models.Preprocess(
        size=16, colour="L", mean=(0.25,), std=(2.0,), scale=255.0, label_offset=1
    )
    models.save_weights(model, tmp_path / "new" / "net.safetensors", held_out_accuracy=0.5)
    for again in (
        models.create("digits_vgg", weights=tmp_path / "new" / "net.safetensors"),
        models.load_weights("digits_vgg", tmp_path / "new" / "net.safetensors"),
        models.load_weights(small(seed=1), str(tmp_path / "new" / "net.safetensors")),
    ):
        assert_same_weights(again, model)
        assert again.preprocess == model.preprocess
        assert again.recipe == model.recipe
        assert not again.training
    assert json.loads((tmp_path / "new" / "net.json").read_text())["held_out_accuracy"] == 0.5


@pytest.mark.parametrize("existing", ["net.safetensors", "net.json"])
def test_nothing_is_overwritten(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{existing} exists and is not overwritten"):
        models.save_weights(small(), tmp_path / "net.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_checkpoints_with_and_without_wrapping(tmp_path: Path, suffix: str, wrapped: bool) -> None:
    model = small()
    state: dict[str, Any] = dict(model.state_dict())
    if wrapped:
        state = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(state, tmp_path / f"net{suffix}")
    again = models.create("digits_vgg", weights=tmp_path / f"net{suffix}", **OPTIONS)
    assert_same_weights(again, model)


def test_safetensors_without_a_description_need_the_options_given(tmp_path: Path) -> None:
    model = small()
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    again = models.create("digits_vgg", weights=tmp_path / "net.safetensors", **OPTIONS)
    assert_same_weights(again, model)
    assert again.preprocess == models.find("digits_vgg").preprocess
    with pytest.raises(
        FormatError, match=r"features\.0\.weight has shape \(4, 1, 3, 3\); .* \(8, 1, 3, 3\)"
    ):
        models.create("digits_vgg", weights=tmp_path / "net.safetensors")


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    model = small()
    state = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    save_file(state, tmp_path / "net.safetensors")
    again = models.create("digits_vgg", weights=tmp_path / "net.safetensors", **OPTIONS)
    assert_same_weights(again, model)


def without_bias(state: dict[str, Tensor]) -> None:
    del state["classifier.3.bias"]


def with_one_more(state: dict[str, Tensor]) -> None:
    state["extra"] = torch.zeros(2, 5)


def with_another_shape(state: dict[str, Tensor]) -> None:
    state["classifier.3.weight"] = torch.zeros(3, 31)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_bias, r"net\.safetensors has no tensor classifier\.3\.bias of shape \(3,\)"),
        (with_one_more, r"net\.safetensors has a tensor extra of shape \(2, 5\)"),
        (with_another_shape, r"classifier\.3\.weight has shape \(3, 31\); .* \(3, 32\)"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(
    tmp_path: Path, damage: Any, message: str
) -> None:
    model = small()
    state = dict(model.state_dict())
    damage(state)
    save_file(state, tmp_path / "net.safetensors")
    before = small(seed=1)
    kept = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    with pytest.raises(FormatError, match=message):
        models.load_weights(before, tmp_path / "net.safetensors")
    assert all(torch.equal(kept[name], t) for name, t in before.state_dict().items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_damaged_file_is_a_format_error(tmp_path: Path, suffix: str, keep: int) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(small().state_dict(), path)
    else:
        save_file(small().state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=rf"net{suffix} (is damaged|cannot be read safely)"):
        models.load_weights(small(), path)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("was-run", "w"))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").write_bytes(pickle.dumps({"weight": Hostile()}, protocol=2))
    with pytest.raises(FormatError, match=r"net\.pth cannot be read safely"):
        models.read_state(tmp_path / "net.pth")
    assert not (tmp_path / "was-run").exists()


def test_a_checkpoint_of_other_things_is_a_format_error(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "net.pth")
    with pytest.raises(FormatError, match=r"net\.pth holds list, not tensors by name"):
        models.read_state(tmp_path / "net.pth")
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(FormatError, match=r"net\.pth holds dict, not tensors by name"):
        models.read_state(tmp_path / "net.pth")


def test_an_unknown_ending_is_a_format_error() -> None:
    with pytest.raises(FormatError, match=r"net\.onnx ends with '\.onnx'; known are"):
        models.read_state(Path("net.onnx"))


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
def test_a_missing_file_is_what_python_calls_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        models.read_state(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"net\.json says format 2 and network 'digits_vgg'; expected format 1"),
        ({"network": "vgg16"}, r"format 1 and network 'vgg16'; expected .*'digits_vgg'"),
        ({"options": 3}, r"net\.json is damaged"),
        ({"preprocess": {}}, r"net\.json is damaged: .*its fields are \[\]"),
        ({"options": {"width": "x"}}, r"no digits_vgg has options \{'width': 'x'\}"),
        ({"options": {"width": 1e9}}, r"no digits_vgg has options \{'width': 1000000000\.0\}"),
        ({"options": {"width": 1e4}}, r"features\.0\.weight has shape \(4, 1, 3, 3\); "),
    ],
)
def test_a_damaged_description_is_a_format_error(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    models.save_weights(small(), tmp_path / "net.safetensors")
    content = json.loads((tmp_path / "net.json").read_text())
    (tmp_path / "net.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(FormatError, match=message):
        models.create("digits_vgg", weights=tmp_path / "net.safetensors")


def test_a_description_that_is_no_json_is_a_format_error(tmp_path: Path) -> None:
    models.save_weights(small(), tmp_path / "net.safetensors")
    (tmp_path / "net.json").write_text("{")
    with pytest.raises(FormatError, match=r"net\.json is damaged: JSONDecodeError"):
        models.create("digits_vgg", weights=tmp_path / "net.safetensors")

# SPDX-License-Identifier: Apache-2.0
"""Training by name: what is saved comes back, and the package's own weights are made again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from convsmith import models
from convsmith.errors import ArgumentError
from convsmith.training import DATASETS, Recipe, TrainingData, train_network, training_data


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "few.npz", x=rng.integers(0, 256, (40, 28, 28), np.uint8), y=np.arange(40) % 10
    )
    return tmp_path / "few.npz"


def test_a_trained_network_is_saved_and_created_again(few_images: Path, tmp_path: Path) -> None:
    trained = train_network(
        "digits_vgg", few_images, {"epochs": 1, "batch_size": 16, "seed": 3}, width=0.25
    )
    trained.save(tmp_path / "out.safetensors")
    again = models.create("digits_vgg", weights=tmp_path / "out.safetensors")
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    description = json.loads((tmp_path / "out.json").read_text())
    said = description["training"]
    assert {key: said[key] for key in ("data", "images", "epochs", "batch_size", "seed")} == {
        "data": "few.npz",
        "images": 32,
        "epochs": 1,
        "batch_size": 16,
        "seed": 3,
    }
    assert 0 <= description["held_out_accuracy"] <= 1
    with pytest.raises(FileExistsError, match=r"out\.safetensors exists"):
        trained.save(tmp_path / "out.safetensors")


def test_the_seed_decides_the_first_weights_too(few_images: Path) -> None:
    threads = torch.get_num_threads()
    states = [
        train_network(
            "digits_vgg", few_images, {"epochs": 1, "batch_size": 32, "seed": seed}, width=0.25
        ).model.state_dict()
        for seed in (3, 3, 4)
    ]
    assert all(torch.equal(t, states[1][name]) for name, t in states[0].items())
    assert not torch.equal(states[0]["features.0.weight"], states[2]["features.0.weight"])
    assert torch.get_num_threads() == threads


def test_a_fifth_of_the_images_is_held_out(few_images: Path) -> None:
    data = training_data(few_images, models.find("lenet5").preprocess)
    assert (len(data.train), len(data.held_out)) == (32, 8)


@pytest.mark.slow
def test_the_embedded_weights_are_made_again() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    embedded = Path(models.__file__).parent / "weights"
    settings = json.loads((embedded / "digits_vgg.json").read_text())["training"]
    trained = train_network("digits_vgg", "digits")
    assert trained.settings | {"torch": ""} == settings | {"torch": ""}
    assert trained.result.measures["held_out_accuracy"] >= 0.97
    if "AVX2" in torch.backends.cpu.get_cpu_capability() and torch.__version__ == settings["torch"]:
        # The same instructions sum in the same order: bit for bit.
        stored = load_file(embedded / "digits_vgg.safetensors")
        found = trained.model.state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in stored.items())


@pytest.mark.slow
def test_lenet5_learns_the_digits() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    trained = train_network("lenet5", "digits")
    assert trained.result.measures["held_out_accuracy"] >= 0.97


def test_the_data_decides_the_outputs_and_its_own_recipe(
    few_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def three_classes(preprocess: models.Preprocess, root: Path | None) -> TrainingData:
        data = training_data(few_images, preprocess)
        return replace(data, options={"num_classes": 12}, recipe=Recipe(epochs=1, lr=0.5))

    monkeypatch.setitem(DATASETS, "mine", three_classes)
    trained = train_network("resnet20", "mine", {"lr": 0.25}, width=0.25, size=24)
    assert trained.model.recipe.options == {"num_classes": 12, "width": 0.25}
    assert (trained.settings["lr"], trained.settings["epochs"]) == (0.25, 1)
    assert trained.model.preprocess.size == 24


def test_a_network_for_one_size_is_built_for_that_of_the_images(few_images: Path) -> None:
    found = train_network("vgg16", few_images, {"epochs": 1}, size=64, width=0.03)
    assert found.model.recipe.options["image_size"] == 64
    assert found.model.preprocess.size == 64


def test_a_size_the_network_does_not_take_is_an_error(few_images: Path) -> None:
    with pytest.raises(ArgumentError, match=r"digits_vgg takes no images of 24 x 24 pixels"):
        train_network("digits_vgg", few_images, {"epochs": 1}, size=24)

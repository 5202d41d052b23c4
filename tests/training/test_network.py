# SPDX-License-Identifier: Apache-2.0
"""Training by name: what is saved comes back, and the package's own weights are made again."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from convsmith import models
from convsmith.training import train_network, training_data


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "few.npz", x=rng.integers(0, 256, (40, 28, 28), np.uint8), y=np.arange(40) % 10
    )
    return tmp_path / "few.npz"


def test_a_trained_network_is_saved_and_created_again(few_images: Path, tmp_path: Path) -> None:
    trained = train_network("digits_vgg", few_images, epochs=1, batch_size=16, width=0.25, seed=3)
    trained.save(tmp_path / "out.safetensors")
    again = models.create("digits_vgg", weights=tmp_path / "out.safetensors")
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    description = json.loads((tmp_path / "out.json").read_text())
    assert description["training"] | {"torch": ""} == {
        "data": "few.npz",
        "images": 32,
        "epochs": 1,
        "batch_size": 16,
        "lr": 4e-3,
        "seed": 3,
        "threads": 1,
        "torch": "",
    }
    with pytest.raises(FileExistsError, match=r"out\.safetensors exists"):
        trained.save(tmp_path / "out.safetensors")


def test_the_seed_decides_the_first_weights_too(few_images: Path) -> None:
    threads = torch.get_num_threads()
    states = [
        train_network(
            "digits_vgg", few_images, epochs=1, batch_size=32, width=0.25, seed=seed
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
    assert trained.result.held_out_accuracy >= 0.97


@pytest.mark.slow
def test_lenet5_learns_the_digits() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    trained = train_network("lenet5", "digits")
    assert trained.result.held_out_accuracy >= 0.97

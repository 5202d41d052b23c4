# SPDX-License-Identifier: Apache-2.0
"""A training that is stopped anywhere and started again ends with the same weights, bit for bit."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from convsmith import models
from convsmith.errors import ArgumentError, FormatError
from convsmith.training import (
    Checkpoints,
    ImageSet,
    Recipe,
    Step,
    TrainingData,
    split,
    train,
    train_network,
)
from convsmith.training.tasks import Classification

RECIPES = {
    "adamw": Recipe(epochs=3, batch_size=16),
    "sgd, cosine, average": Recipe(
        epochs=3, batch_size=16, optimizer="sgd", lr=0.05, schedule="cosine", ema=0.8, flip=True
    ),
    "sgd without momentum": Recipe(epochs=3, batch_size=16, optimizer="sgd", momentum=0.0),
}
SETTINGS = {"network": "digits_vgg", "width": 0.25}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data() -> TrainingData:
    rng = np.random.default_rng(0)
    images = ImageSet(
        images=rng.integers(0, 256, (50, 8, 8), np.uint8),
        classes=np.arange(50) % 10,
        preprocess=models.find("digits_vgg").preprocess,
    )
    return split(images, held_out=10, seed=0, task=Classification())


def network() -> models.Model:
    torch.manual_seed(1)
    return models.create("digits_vgg", width=0.25)


class StoppedError(Exception):
    pass


def stop_at(number: int) -> Any:
    def stop(step: Step) -> None:
        if step.number == number:
            raise StoppedError

    return stop


def weights_of(recipe: Recipe, **options: Any) -> dict[str, Tensor]:
    model = network()
    train(model, data(), recipe, **options)
    return model.state_dict()


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_and_continued_is_the_same_bit_for_bit(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    expected = weights_of(recipe)

    def checkpoints() -> Checkpoints:
        return Checkpoints(tmp_path, SETTINGS, seconds=0)

    # Of nine steps: in the first epoch, after its last, and in a later one.
    for step in (2, 4, 8):
        with pytest.raises(StoppedError):
            train(network(), data(), recipe, checkpoints=checkpoints(), on_step=stop_at(step))
    seen: list[int] = []
    found = weights_of(
        recipe, checkpoints=checkpoints(), on_step=lambda step: seen.append(step.number)
    )
    assert seen == [8, 9]  # the eighth was made, but not written
    assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    # A training that is done is not done again.
    again = train(network(), data(), recipe, checkpoints=checkpoints())
    assert [epoch.number for epoch in again.history] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_it_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 10)
    recipe = {"epochs": 12, "batch_size": 4}

    def trained(folder: str | None) -> dict[str, Tensor]:
        file = tmp_path / "few.npz"
        found = train_network("digits_vgg", file, recipe, width=0.25, folder=folder, seconds=0)
        return found.model.state_dict()

    folder = tmp_path / "run"
    program = (
        "from convsmith.training import train_network; "
        f"train_network('digits_vgg', {str(tmp_path / 'few.npz')!r}, {recipe}, width=0.25, "
        f"folder={str(folder)!r}, seconds=0)"
    )
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", program])
        before = steps_in(folder)
        while steps_in(folder) < before + 20 and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    expected = trained(None)
    found = trained(str(folder))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def steps_in(folder: Path) -> int:
    if not (folder / "checkpoint.safetensors").exists():
        return 0
    with safe_open(folder / "checkpoint.safetensors", "pt") as stored:
        return int(json.loads(stored.metadata()["convsmith"])["steps"])


def test_another_training_is_refused_by_what_differs(tmp_path: Path) -> None:
    recipe = RECIPES["adamw"]
    train(network(), data(), recipe, checkpoints=Checkpoints(tmp_path, SETTINGS))
    other = Checkpoints(tmp_path, {**SETTINGS, "width": 0.5})
    with pytest.raises(ArgumentError, match=r"of another training \(width 0.25, now 0.5\)"):
        train(network(), data(), recipe, checkpoints=other)


def damage(file: Path, how: str) -> None:
    if how == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
        return
    with safe_open(file, "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        metadata = stored.metadata()
    if how == "a tensor is missing":
        del tensors["order"]
    elif how == "no header":
        metadata = {}
    else:
        tensors["model.features.0.weight"] = torch.zeros(1)
    save_file(tensors, file, metadata=metadata)


@pytest.mark.parametrize("how", ["cut short", "a tensor is missing", "no header", "another shape"])
def test_a_damaged_checkpoint_is_refused(how: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, SETTINGS)
    train(network(), data(), RECIPES["adamw"], checkpoints=checkpoints)
    damage(checkpoints.file, how)
    with pytest.raises(FormatError, match=r"checkpoint\.safetensors is no whole checkpoint"):
        train(network(), data(), RECIPES["adamw"], checkpoints=checkpoints)


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    about = {"format": 2, "settings": SETTINGS}
    save_file({}, tmp_path / "checkpoint.safetensors", metadata={"convsmith": json.dumps(about)})
    with pytest.raises(FormatError, match="has format 2; this version reads 1"):
        train(network(), data(), RECIPES["adamw"], checkpoints=Checkpoints(tmp_path, SETTINGS))

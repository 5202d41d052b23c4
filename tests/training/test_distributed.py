# SPDX-License-Identifier: Apache-2.0
"""Two processes take the steps that one would; torchrun starts the command line."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from convsmith.errors import ArgumentError
from convsmith.training.distributed import World, joined

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SCRIPT = Path(__file__).with_name("shared_training.py")


def torchrun(*words: object) -> str:
    done = subprocess.run(
        [*TORCHRUN, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("network", ["lenet5", "resnet8"])  # without batch-norm, and with it
def test_two_processes_take_the_steps_of_one(network: str, tmp_path: Path) -> None:
    torchrun(SCRIPT, network, tmp_path / "two.safetensors")
    found = load_file(tmp_path / "two.safetensors")
    script = runpy.run_path(str(SCRIPT))
    expected = script["trained"](network)
    torch.manual_seed(1)
    first = script["models"].create(network, dtype=torch.float64).state_dict()
    assert found.keys() == first.keys()
    assert any(not torch.equal(first[name], found[name]) for name in first)
    for name, weights in expected.items():
        # The same float64 sums in another order: a gradient sums at most 16 images of 32 x 32
        # places, and six steps amplify what is lost by far less than the factor 100 allowed.
        bound = 100 * 16 * 32 * 32 * torch.finfo(torch.float64).eps
        assert (found[name] - weights).abs().max() < bound, name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_starts_the_command(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 10)
    words = ["-m", "--", "convsmith.training", "digits_vgg", "--data", tmp_path / "few.npz"]
    words += ["--epochs", 2, "--batch-size", 8, "--width", 0.25, "--json", "-q"]
    words += ["--run", tmp_path / "run"]  # which torchrun would take for its own --run-path
    report = json.loads(torchrun(*words, "--save", tmp_path / "out.safetensors"))
    assert report["settings"]["processes"] == 2
    assert (tmp_path / "out.safetensors").exists()


def test_alone_there_is_one_process() -> None:
    with joined("cpu") as device:
        assert device == torch.device("cpu")
        assert World.current() == World(rank=0, size=1)
    loss = torch.tensor(3.0)
    assert World().scaled(loss, weight=2.0) is loss
    assert World().total(2.5) == 2.5


@pytest.mark.parametrize("name", ["tpu", "meta"])
def test_a_device_that_is_not_here_is_an_error(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"cannot train on device '{name}' here"), joined(name):
        pass

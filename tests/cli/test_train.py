# SPDX-License-Identifier: Apache-2.0
"""A training that is interrupted says what is left of it, and goes on to the same weights."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from convsmith.cli import main
from convsmith.training.state import State


def trained(monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    given = ["lenet5", "--data", "few.npz", "--epochs", "2", "--batch-size", "8", "-q"]
    monkeypatch.setattr(sys, "argv", ["convsmith", "train", *given, *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C behind the sixth step of eight, in the second epoch."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    np.savez("few.npz", x=pixels, y=np.arange(40) % 10)
    step = State.step
    taken = []

    def counted(self: State, *args: Any, **options: Any) -> None:
        step(self, *args, **options)
        taken.append(1)
        if len(taken) == 6:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(State, "step", counted)


def test_ctrl_c_says_how_to_go_on(
    interrupted: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(monkeypatch, "--run", "run", "--save", "a.safetensors") == 130
    assert "stopped: the same command goes on from run" in capsys.readouterr().err
    assert not Path("a.safetensors").exists()
    assert trained(monkeypatch, "--run", "run", "--save", "a.safetensors") == 0
    assert trained(monkeypatch, "--save", "b.safetensors") == 0
    once, twice = load_file("b.safetensors"), load_file("a.safetensors")
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_ctrl_c_without_a_folder_says_that_nothing_is_kept(
    interrupted: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(monkeypatch) == 130
    assert "stopped: without --run, nothing is kept" in capsys.readouterr().err

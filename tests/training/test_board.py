# SPDX-License-Identifier: Apache-2.0
"""Curves for TensorBoard, and none without it."""

import importlib.util
from pathlib import Path

import pytest

from convsmith.training import Epoch, Step
from convsmith.training.board import board


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with board(tmp_path) as curves:
        assert curves is not None
        for number in (1, 2):
            curves.step(Step(number=number, steps=2, loss=1 / number, lr=0.5))
        curves.epoch(Epoch(number=1, epochs=1, loss=0.75))
        curves.measures({"held_out_accuracy": 0.25})
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss/step")] == [(1, 1.0), (2, 0.5)]
    assert [(e.step, e.value) for e in found.Scalars("loss/epoch")] == [(1, 0.75)]
    assert [(e.step, e.value) for e in found.Scalars("held_out_accuracy")] == [(2, 0.25)]


def test_without_tensorboard_there_is_no_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with board(tmp_path) as curves:
        assert curves is None

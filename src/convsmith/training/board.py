# SPDX-License-Identifier: Apache-2.0
"""The curves of a training for TensorBoard, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from convsmith.training.loop import Step
from convsmith.training.state import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Board:
    """Writes the loss and the step size as they come, and the measures of the end."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer
        self._step = 0

    def step(self, step: Step) -> None:
        """The loss of one batch."""
        self._step = step.number
        self._writer.add_scalar("loss/step", step.loss, step.number)
        self._writer.add_scalar("lr", step.lr, step.number)

    def epoch(self, epoch: Epoch) -> None:
        """The mean loss of one epoch."""
        self._writer.add_scalar("loss/epoch", epoch.loss, epoch.number)

    def measures(self, measures: Mapping[str, float]) -> None:
        """How good the network became."""
        for name, value in measures.items():
            self._writer.add_scalar(name, value, self._step)


@contextmanager
def board(folder: str | Path) -> Iterator[Board | None]:
    """A board that writes into a folder; None where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield Board(writer)

# SPDX-License-Identifier: Apache-2.0
"""Runtimes of ONNX files as runners: the near end of the pipe to `worker.py`."""

import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convsmith.bench import worker

_LAST_WORDS = 500


def export(module: nn.Module, x: Tensor, folder: Path) -> None:
    """Write `model.onnx` and its input `x.npy`."""
    with _silence():
        torch.onnx.export(module, (x,), str(folder / "model.onnx"), dynamo=True, verbose=False)
    np.save(folder / "x.npy", x.numpy())


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter has much to say about packages that nobody asked for."""
    noise, disabled = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class RuntimeRunner:
    """A runtime that has loaded the exported model of a folder, in a process of its own."""

    def __init__(self, engine: str, folder: Path, threads: int) -> None:
        self._engine, self._result = engine, folder / f"{engine}.npy"
        self._complaints = (folder / f"{engine}.txt").open("w+")
        files = (folder / "model.onnx", folder / "x.npy", self._result)
        self._process = subprocess.Popen(
            # -P: this room's file names must not stand in for the library's
            [sys.executable, "-P", worker.__file__, engine, *map(str, files), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def output(self) -> Tensor:
        """What it computed for the input."""
        return torch.from_numpy(np.load(self._result))

    def run(self, calls: int) -> float:
        """Seconds of so many calls, by the clock of its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._complaints.seek(0)
            words = self._complaints.read().strip()[-_LAST_WORDS:]
            raise ChildProcessError(f"{self._engine} ended: {words or 'without a word'}")
        return line

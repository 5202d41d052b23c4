# SPDX-License-Identifier: Apache-2.0
"""Runtimes in processes of their own: they agree, they end, and their last words are heard."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convsmith.bench.runtimes import RuntimeRunner, export


@contextmanager
def running(engine: str, folder: Path) -> Iterator[RuntimeRunner]:
    runner = RuntimeRunner(engine, folder, threads=1)
    try:
        yield runner
    finally:
        runner.close()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_runtime_computes_what_torch_computes(engine: str, tmp_path: Path) -> None:
    for package in (engine, "onnx", "onnxscript"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed (the extra `bench` has it)")
    module = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()).eval()
    x = torch.randn(1, 3, 7, 6)
    export(module, x, tmp_path)
    with running(engine, tmp_path) as runner, torch.no_grad():
        torch.testing.assert_close(runner.output(), module(x))
        assert runner.run(1) > 0
        assert runner.run(3) > 0


def test_what_a_runtime_complains_about_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    np.save(tmp_path / "x.npy", np.zeros(1, dtype=np.float32))
    with pytest.raises(ChildProcessError, match=r"(?s)nosuchengine ended: .*KeyError"):
        RuntimeRunner("nosuchengine", tmp_path, threads=1)

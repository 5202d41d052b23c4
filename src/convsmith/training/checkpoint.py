# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: a training written whole, so that it goes on where it stopped, bit for bit.

One file: the tensors as safetensors, everything else as JSON in its header. It is written beside
its place and then renamed, so that there is always a whole one; nothing is pickled.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from convsmith.errors import ArgumentError, FormatError
from convsmith.training.state import Epoch, State

_FORMAT = 1


class Checkpoints:
    """The checkpoint of one training in a folder.

    Args:
        settings: What the training was asked to be, plain data; a checkpoint of another training
            is refused, not continued.
        seconds: How often one is written, besides after every epoch; 0 writes one at every step.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], seconds: float = 60.0
    ) -> None:
        self.file = Path(folder) / "checkpoint.safetensors"
        self._settings = json.loads(json.dumps(settings))
        self._seconds = seconds
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last one is so old that another is to be written."""
        return time.monotonic() - self._written >= self._seconds

    def write(self, state: State) -> None:
        """Put a checkpoint in the place of the last one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        about = {"format": _FORMAT, "settings": self._settings, **_numbers(state)}
        partial = self.file.with_suffix(".partial")
        save_file(_tensors(state), partial, metadata={"convsmith": json.dumps(about)})
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(self.file)
        self._written = time.monotonic()

    def restore(self, state: State) -> bool:
        """Bring a training to where its checkpoint was written; False where there is none.

        Raises:
            ArgumentError: if the checkpoint is of a training with other settings; they are named.
            FormatError: if it is damaged or of another format.
        """
        if not self.file.exists():
            return False
        with self._complaints():
            with safe_open(self.file, "pt") as stored:
                about = json.loads((stored.metadata() or {})["convsmith"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            settings, version = dict(about["settings"]), about["format"]
        self._require_same(settings, version)
        with self._complaints():
            _fill(state, tensors, about)
        return True

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        try:
            yield
        except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise FormatError(f"train: {self.file} is no whole checkpoint: {error}") from None

    def _require_same(self, stored: Mapping[str, Any], version: int) -> None:
        if version != _FORMAT:
            raise FormatError(
                f"train: {self.file} has format {version}; this version reads {_FORMAT}"
            )
        keys = sorted({*stored, *self._settings})
        changed = [
            f"{key} {stored.get(key)!r}, now {self._settings.get(key)!r}"
            for key in keys
            if stored.get(key) != self._settings.get(key)
        ]
        if changed:
            raise ArgumentError(
                f"train: {self.file} is of another training ({'; '.join(changed)}); repeat its "
                f"settings to go on with it, or give another folder"
            )


def _tensors(state: State) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average.{name}": t for name, t in state.average.state_dict().items()}
    for number, values in state.optimizer.state_dict()["state"].items():
        moments = {key: value for key, value in values.items() if value is not None}
        tensors |= {f"optimizer.{number}.{key}": value for key, value in moments.items()}
    tensors |= {"random": torch.get_rng_state(), "draws": state.draws.get_state()}
    tensors |= {"order": state.order}
    if state.device.type == "cuda":
        tensors["random_cuda"] = torch.cuda.get_rng_state(state.device)
    # Copies, because safetensors refuses tensors that share memory.
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _numbers(state: State) -> dict[str, Any]:
    return {
        "steps": state.steps,
        "position": state.position,
        "total": state.total,
        "seconds": state.seconds,
        "history": [[epoch.number, epoch.epochs, epoch.loss] for epoch in state.history],
        "schedule": _plain(state.schedule.state_dict()),
        "groups": _plain(
            [
                {key: value for key, value in group.items() if key != "params"}
                for group in state.optimizer.param_groups
            ]
        ),
        "scaler": state.scaler.state_dict(),
    }


def _plain(data: Any) -> Any:
    """Data without what JSON has no word for: the functions of a schedule, which stay."""
    if isinstance(data, Mapping):
        return {key: _plain(value) for key, value in data.items() if not callable(value)}
    return [_plain(value) for value in data] if isinstance(data, list | tuple) else data


def _fill(state: State, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    state.model.load_state_dict(_below("model.", tensors))
    if state.average is not None:
        state.average.load_state_dict(_below("average.", tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below("optimizer.", tensors).items():
        number, key = name.split(".", 1)
        moments.setdefault(int(number), {})[key] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    stored = about["groups"]
    state.optimizer.load_state_dict(
        {
            "state": moments,
            "param_groups": [
                {**group, **_tuples(numbers)} for group, numbers in zip(groups, stored, strict=True)
            ],
        }
    )
    state.schedule.load_state_dict(dict(about["schedule"]))
    state.scaler.load_state_dict(about["scaler"])
    torch.set_rng_state(tensors["random"])
    state.draws.set_state(tensors["draws"])
    if "random_cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random_cuda"], state.device)
    state.order, state.position = tensors["order"], int(about["position"])
    state.steps, state.total = int(about["steps"]), float(about["total"])
    state.seconds = float(about["seconds"])
    state.history = [Epoch(number=n, epochs=of, loss=loss) for n, of, loss in about["history"]]


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _tuples(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no pairs: the betas come back as a list."""
    return {key: tuple(v) if isinstance(v, list) else v for key, v in numbers.items()}

# SPDX-License-Identifier: Apache-2.0
"""torchmetrics, where it is installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from convsmith.errors import UnsupportedError


def metrics(task: str) -> ModuleType:
    """The package torchmetrics.

    Raises:
        UnsupportedError: if it is not installed.
    """
    try:
        return import_module("torchmetrics")
    except ModuleNotFoundError:
        raise UnsupportedError(
            f"train: torchmetrics, which measures {task}, is not installed; pip install "
            f"'convsmith[train]'"
        ) from None

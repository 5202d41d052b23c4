# SPDX-License-Identifier: Apache-2.0
"""convsmith: the convolution toolkit for PyTorch.

Layers and functions come from `convsmith.convs`, tasks from their rooms. Nothing is imported before
it is asked for, so that `convsmith --help` does not wait for torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convsmith import models as models
    from convsmith.analysis import analyze as analyze
    from convsmith.convs import *  # noqa: F403  (the list of families is kept there alone)
    from convsmith.convs.swapping import swap as swap
    from convsmith.rewrite import densify as densify
    from convsmith.rewrite import load as load
    from convsmith.rewrite import optimize as optimize
    from convsmith.rewrite import to_fully_convolutional as to_fully_convolutional
    from convsmith.scanning import scan as scan

__version__ = version("convsmith")

_ROOM_OF_TASK = {
    "analyze": "analysis",
    "densify": "rewrite",
    "load": "rewrite",
    "optimize": "rewrite",
    "scan": "scanning",
    "swap": "convs.swapping",
    "to_fully_convolutional": "rewrite",
}


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF_TASK:
        return getattr(import_module(f"convsmith.{_ROOM_OF_TASK[name]}"), name)
    if name == "models":
        return import_module("convsmith.models")
    if name == "__all__":
        return sorted({"models", *_ROOM_OF_TASK, *import_module("convsmith.convs").__all__})
    if not name.startswith("_"):
        convs = import_module("convsmith.convs")
        if name in convs.__all__:
            return getattr(convs, name)
    raise AttributeError(f"module 'convsmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]

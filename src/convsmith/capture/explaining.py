# SPDX-License-Identifier: Apache-2.0
"""Why a model could not be traced: where it stopped, which rule it broke, and what helps."""

import inspect
import traceback
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from convsmith.errors import CaptureError

# Whose lines are not the user's, who may keep his own in a folder of our name.
_NOT_OWN = (Path(torch.__file__).parent, Path(__file__).parents[1])
_MOST_WORDS = 60


def failing_place(worked: nn.Module, error: Exception) -> tuple[str, str]:
    """The path of the innermost module that an error came through, and the user's line; what the
    module is, where only torch's own lines were at work.
    """
    path, line = "", ""
    paths = {id(module): path for path, module in worked.named_modules()}
    for frame, number in traceback.walk_tb(error.__traceback__):
        module = frame.f_locals.get("self")
        path = paths.get(id(module), path) if isinstance(module, nn.Module) else path
        file = PurePath(frame.f_code.co_filename)
        is_own = not any(map(file.is_relative_to, _NOT_OWN))
        if is_own and frame.f_code.co_name != "<module>" and not file.name.startswith("<"):
            line = f"{file.name}:{number}"
    return path, line or _described(dict(worked.named_modules())[path])


def _described(module: nn.Module) -> str:
    words = repr(module)
    is_short = len(words) <= _MOST_WORDS and "\n" not in words
    return words if is_short else type(module).__name__


def explained(
    model: nn.Module, twin: nn.Module, given: tuple[Any, Any], error: Exception
) -> CaptureError:
    """What to tell of an error that `twin`, the copy of `model` that was run, raised."""
    path, line = failing_place(twin, error)
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    rule, remedy = _NUMBERS if asks_for_numbers(error) else _rule(twin, path, given, error)
    return CaptureError(
        f"trace: {type(model).__name__} stops at module {path!r} ({line}): {reason}; {rule}; "
        f"{remedy}."
    )


_NUMBERS = (
    "that line asks for the numbers in a tensor, and a model is traced by shapes alone",
    "rewrite it with tensor operations (torch.where), or give a model with its weights",
)


def asks_for_numbers(error: BaseException) -> bool:
    """Whether an error came of tensors that have a shape and no numbers."""
    is_fake = type(error).__module__.startswith("torch._subclasses")
    return is_fake or ".numpy() is not supported for tensor subclasses" in str(error)


def _rule(twin: nn.Module, path: str, given: tuple[Any, Any], error: Exception) -> tuple[str, str]:
    """The rule that was broken, and the remedy."""
    stopped = dict(twin.named_modules())[path]
    missing = [
        name
        for name, p in vars(stopped).get("_parameters", {}).items()
        if p is None and name != "bias"
    ]
    if missing and isinstance(error, TypeError):
        return (
            f"{' and '.join(missing)} of it is None",
            "give it its parameters before, or replace the module by nn.Identity()",
        )
    if isinstance(error, AttributeError) and "has no attribute" in str(error):
        return "something was taken out of it", "put it back, or build the model again"
    if not path and isinstance(error, TypeError) and "argument" in str(error):
        return (
            f"its inputs are {_inputs_of(twin)}",
            "give a list of one shape or tensor for each, or kwargs by name",
        )
    if "BatchedTensorImpl" in str(error):
        return "torch.vmap hides the real sizes", "write the batch out, or analyse what it maps"
    tensors = [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]
    words = ", ".join(f"{tuple(t.shape)}" for t in tensors)
    if any(word in str(error) for word in ("dtype", "type (", "scalar types")):
        words += f" and dtype {_dtypes(tensors)}, with parameters of {_dtypes(twin.parameters())}"
    return (
        f"the model does not run on inputs of shape {words}",
        "give the shapes it takes, batch included, or example tensors of the right dtype",
    )


def _dtypes(tensors: Iterable[Tensor]) -> str:
    """Each of them once, or "none"."""
    found = dict.fromkeys(str(t.dtype).removeprefix("torch.") for t in tensors)
    return ", ".join(found) or "none"


def _inputs_of(model: nn.Module) -> str:
    """What a model takes, "(x, mask=None)"."""
    signature = inspect.signature(model.forward)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))

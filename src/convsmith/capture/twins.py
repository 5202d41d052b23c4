# SPDX-License-Identifier: Apache-2.0
"""What stands in for a model while it is traced: a copy, as a rule without numbers."""

import copy
from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from convsmith.errors import CaptureError

_MOST_ASKED = 64  # numbers of a buffer


def twin_of(model: nn.Module, mode: FakeTensorMode | None, home: torch.device) -> nn.Module:
    """A deep copy in eval mode: its tensors have shapes and no numbers, or without a mode the
    model's own parameters.
    """
    memo: dict[int, Any] = {id(tensor): tensor.detach() for tensor in _computed(model)}
    if mode is None:
        memo |= {id(tensor): tensor for tensor in model.parameters()}
    else:
        memo |= _weightless(model, mode, home)
    try:
        twin = copy.deepcopy(model, memo).eval()
    except Exception as error:  # a module may hold anything, and fail to copy in any way
        raise CaptureError(
            f"trace: {type(model).__name__} cannot be deep-copied: {error}; convsmith works on a "
            "copy; keep what cannot be copied (open files, locks) out of the module."
        ) from error
    for module in twin.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            hooks.update({key: _about_copies(hook, memo) for key, hook in hooks.items()})
    return twin


def _about_copies(hook: Any, memo: dict[int, Any]) -> Any:
    """A hook that works on the copies of the objects that it closes over: a deep copy leaves
    functions as they are, and it would write into the user's model.
    """
    if not isinstance(hook, FunctionType) or not hook.__closure__:
        return hook
    cells = tuple(_copied(cell, memo) for cell in hook.__closure__)
    copied = FunctionType(hook.__code__, hook.__globals__, hook.__name__, hook.__defaults__, cells)
    copied.__kwdefaults__ = hook.__kwdefaults__
    return copied


def _copied(cell: CellType, memo: dict[int, Any]) -> CellType:
    try:
        inside = cell.cell_contents
    except ValueError:  # nothing is in it yet
        return cell
    return CellType(memo.get(id(inside), inside))


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """Plain attributes that have a graph, as pruning and older weight norms leave behind."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                yield value


def _weightless(model: nn.Module, mode: FakeTensorMode, home: torch.device) -> dict[int, Tensor]:
    """For the tensors of a model, by id, others that have shapes and no numbers."""
    found: dict[int, Tensor] = {}
    for module in model.modules():
        own = [*module._parameters.values(), *module._buffers.values()]
        # A plain attribute keeps its numbers, which a model may need, unless it has none.
        own += [t for t in vars(module).values() if isinstance(t, Tensor) and t.is_meta]
        for tensor in own:
            if tensor is not None and id(tensor) not in found:
                found[id(tensor)] = _without_numbers(tensor, mode, home)
    return found


def input_of(tensor: Tensor, mode: FakeTensorMode | None, home: torch.device) -> Tensor:
    """An input like `tensor`: without numbers, or without a mode with them, random if need be."""
    if mode is not None:
        return _without_numbers(tensor, mode, home)
    if tensor.is_meta:
        return torch.randn(tensor.shape, device=home).to(tensor.dtype)
    return tensor.detach().clone()


def _may_be_asked(tensor: Tensor) -> bool:
    """A few whole numbers that a model may compute sizes from: they keep their values."""
    is_whole = not (tensor.is_floating_point() or tensor.is_complex())
    return is_whole and not tensor.is_meta and tensor.numel() <= _MOST_ASKED


def _without_numbers(tensor: Tensor, mode: FakeTensorMode, home: torch.device) -> Tensor:
    device = home if tensor.is_meta else tensor.device
    with mode:
        fake: Any = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device
        )
        if isinstance(tensor, nn.Parameter):
            return nn.Parameter(fake, requires_grad=tensor.requires_grad)
    if _may_be_asked(tensor):
        fake.constant = tensor.detach().clone()
    return fake

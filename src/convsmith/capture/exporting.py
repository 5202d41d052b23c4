# SPDX-License-Identifier: Apache-2.0
"""Taking the graph of a model with torch.export, with as many free sizes as the model allows."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export.dynamic_shapes import _combine_args
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from convsmith.capture.canonical import canonicalise
from convsmith.capture.explaining import failing_place
from convsmith.capture.graph import Captured
from convsmith.capture.network import RESERVED, Network
from convsmith.capture.quiet import quiet
from convsmith.capture.shapes import mark_current, may_vary, settle
from convsmith.errors import ArgumentError, CaptureError


class _Attempt(NamedTuple):
    """One way to export: the inputs and which of their sizes to try as free."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    batch: bool
    space: bool

    def dynamic_shapes(self, model: nn.Module) -> Any:
        """The specification torch.export wants: shaped like the inputs, a choice for every axis of
        every tensor.
        """
        free, fixed = torch.export.Dim.AUTO, torch.export.Dim.STATIC

        def of_leaf(leaf: Any) -> Any:
            if not isinstance(leaf, torch.Tensor):
                return None
            flags = may_vary(leaf, batch=self.batch, space=self.space)
            return {axis: free if flag else fixed for axis, flag in enumerate(flags)}

        return pytree.tree_map(of_leaf, _combine_args(model, self.args, self.kwargs))


def capture(
    model: nn.Module,
    example: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> Captured:
    """The inference graph of a model, with the sizes that may vary left free.

    The model is not changed: a deep copy in eval mode is exported. Free sizes are tried from the
    most to the fewest: batch and every spatial axis, then the batch, then none; `Captured.dynamic`
    tells what was reached, and the captured network refuses every size that it was not captured
    for. An example of one image is repeated to two, since torch.export takes a size of 1 for a
    constant. Values among the inputs that are not tensors are baked in, and refused when they
    differ.

    Args:
        model: Any module torch.export can trace.
        example: A tensor, or the tuple of positional inputs; tensors may be nested in tuples, lists
            and dicts.
        kwargs: Keyword inputs.
        shared: Whether the network has the model's own parameters in place of copies: for one that
            is copied in the end, so that a large model is not held more often than needed.

    Raises:
        ArgumentError: if `model` is not a module or the example holds no tensor.
        CaptureError: if the graph cannot be taken, naming the model's class, the module and the
            line.

    Cost: a few seconds, once; no forward pass on real data.

    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(inplace=True))
    >>> captured = capture(model, torch.zeros(1, 3, 32, 32))
    >>> str(captured.dynamic), captured.was_training
    ('batch, height, width', True)
    >>> captured.module(torch.zeros(5, 3, 20, 24)).shape
    torch.Size([5, 8, 18, 22])
    """
    args = example if isinstance(example, tuple) else (example,)
    keywords = dict(kwargs or {})
    _check(model, args, keywords)
    worked = _copied(model, shared).eval()
    for attempt in _attempts(args, keywords):
        try:
            module = _exported(worked, attempt)
        except CaptureError:
            raise
        except Exception as failure:  # sympy's, dynamo's, torch.export's own or the model's
            last, error = attempt, failure
            continue
        return Captured(module, attempt.args, attempt.kwargs, model.training)
    raise _explained(model, worked, last, error) from error


def _exported(worked: nn.Module, attempt: _Attempt) -> Network:
    name = type(worked).__name__
    # Without gradients, `with torch.no_grad()` inside the model leaves no trace in the graph.
    with quiet(), torch.no_grad():
        program = torch.export.export(
            worked,
            attempt.args,
            attempt.kwargs,
            dynamic_shapes=attempt.dynamic_shapes(worked),
            strict=False,
        )
        bare = program.module(check_guards=False)
        canonicalise(bare.graph, name)
        module = Network(bare, bare.graph, class_name=name)
        mark_current(module.graph)
        module.meta["class_name"] = name
        module.meta["contract"] = settle(module, pytree.tree_leaves((attempt.args, attempt.kwargs)))
    return module.eval()


def _attempts(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[_Attempt]:
    plain = pytree.tree_map_only(torch.Tensor, lambda t: t.detach().contiguous(), (args, kwargs))
    args, kwargs = plain
    twice, kwargs_twice = pytree.tree_map_only(torch.Tensor, _repeated, plain)
    yield _Attempt(twice, kwargs_twice, batch=True, space=True)
    if _batch(plain) == 1:
        yield _Attempt(args, kwargs, batch=False, space=True)
    yield _Attempt(twice, kwargs_twice, batch=True, space=False)
    yield _Attempt(args, kwargs, batch=False, space=False)


def _repeated(tensor: torch.Tensor) -> torch.Tensor:
    """A batch of one as a batch of two."""
    is_single = tensor.dim() >= 2 and tensor.shape[0] == 1
    return torch.cat([tensor, tensor]) if is_single else tensor


def _batch(inputs: Any) -> int | None:
    leaves = [
        leaf
        for leaf in pytree.tree_leaves(inputs)
        if isinstance(leaf, torch.Tensor) and leaf.dim() >= 2
    ]
    return leaves[0].shape[0] if leaves else None


def _check(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"capture: model is a {type(model).__name__}; it must be a torch.nn.Module."
        )
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise CaptureError(
            f"capture: {name} is a scripted module, whose source is gone; capture the original "
            "module."
        )
    if not any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves((args, kwargs))):
        raise ArgumentError(
            f"capture: the example of {name} holds no tensor ({args!r:.80}); give a tensor or a "
            "tuple of inputs."
        )
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if path.split(".")[0] in RESERVED:
            raise CaptureError(
                f"capture: {name}: {path} would hide `{path.split('.')[0]}` of the captured "
                "network; rename it."
            )
        if is_lazy(tensor):
            raise CaptureError(
                f"capture: {name}: {path} is not initialised; run the model once on an example "
                "first."
            )
        if tensor.is_meta:
            raise CaptureError(
                f"capture: {name}: {path} is on the meta device and has no values; "
                f"load the weights (to_empty and load_state_dict) first."
            )


def _copied(model: nn.Module, shared: bool) -> nn.Module:
    memo: dict[int, Any] = {id(tensor): tensor for tensor in model.parameters() if shared}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # a module may hold anything, and fail to copy in any way
        raise CaptureError(
            f"capture: {type(model).__name__} cannot be deep-copied: {error}; convsmith works on "
            f"a copy; keep what cannot be copied (open files, tensors with a graph) out of the "
            "module."
        ) from error


def _explained(
    model: nn.Module, worked: nn.Module, attempt: _Attempt, error: Exception
) -> CaptureError:
    """The last attempt's failure in one sentence, at the module and line where it happened."""
    rule = "a model is captured if its path does not depend on the values of tensors"
    remedy = "rewrite that line with tensor operations (torch.where)"
    try:
        with quiet(), torch.no_grad():
            worked(*attempt.args, **attempt.kwargs)
    except Exception as own:  # the model's own failure is the clearer one
        error, rule = own, "the model itself does not run on the example"
        remedy = "give an example that it accepts"
    path, line = failing_place(worked, error)
    reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
    return CaptureError(
        f"capture: {type(model).__name__}: the graph cannot be taken at module {path!r} ({line}): "
        f"{reason}; {rule}; {remedy}."
    )

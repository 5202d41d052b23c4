# SPDX-License-Identifier: Apache-2.0
"""Load what `Optimized.save` wrote; a plan that was made for another machine is made again."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from convsmith.capture import Captured, Network, spell_out
from convsmith.capture import load as load_captured
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.machine import machine
from convsmith.rewrite.planning.planner import plan_kernels

# What decides which kernel is the fastest.
_DECISIVE = ("cpu", "target", "threads", "torch")


def load(folder: str | os.PathLike[str], *, replan: bool = True) -> Network:
    """The network that `save` wrote, ready to run on the CPU; `.about` holds the saved facts.

    If its kernels were chosen by measuring on another processor, instruction set, version of torch
    or number of threads than here and now, they are chosen again, at the size of the saved example.

    Args:
        folder: What `Optimized.save` (or `convsmith.capture.save`) wrote.
        replan: Whether to choose again; without, the saved choice is kept.

    Raises:
        FormatError: if the folder is not a convsmith model, is damaged, hostile or of another
            version.

    Cost: reads the files once; planning again takes some 0.2 s for each distinct convolution.

    >>> import tempfile
    >>> import convsmith as cs
    >>> model, x = torch.nn.Conv2d(3, 8, 3), torch.ones(1, 3, 8, 8)
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     cs.optimize(model, x, timing=False).save(f"{parent}/model")
    ...     network = cs.load(f"{parent}/model")
    >>> torch.allclose(network(x), model(x), atol=1e-5)
    True
    """
    network = load_captured(folder)
    plan = _plan_of(network)
    if not replan or plan is None or not _is_elsewhere(plan["machine"]):
        return network
    return _planned_here(network, plan)


def _is_elsewhere(planned_on: dict[str, Any]) -> bool:
    here = machine()
    return any(planned_on.get(key) != here[key] for key in _DECISIVE)


def _plan_of(network: Network) -> dict[str, Any] | None:
    """The measured plan that was saved with a network, if it can be read as one."""
    match network.about.get("optimized"):
        case {"plan": {"is_measured": True, "machine": dict(), "input_shapes": list()} as plan}:
            return plan if plan.get("math") in ("fast", "strict") else None
    return None


def _planned_here(network: Network, plan: dict[str, Any]) -> Network:
    """The network with its kernels chosen anew, by measuring on this machine."""
    inputs = network.contract.inputs
    example = _inputs(network, [item.sizes for item in inputs if item.is_tensor])
    captured = Captured(network, example.args, example.kwargs, was_training=False)
    spell_out(captured)
    planned, new = plan_kernels(
        captured,
        _inputs(network, plan["input_shapes"]),
        math=plan["math"],
        timing=True,
        progress=lambda line: None,
    )
    about = planned.module.about
    about["optimized"] = about["optimized"] | {"plan": new.to_json()}
    return planned.module


def _inputs(network: Network, shapes: Sequence[Sequence[int]]) -> Inputs:
    """Inputs of these shapes, normally distributed."""
    generator = torch.Generator().manual_seed(0)
    sizes = iter(shapes)
    leaves = []
    for item in network.contract.inputs:
        if not item.is_tensor:
            leaves.append(item.constant)
        elif item.dtype.is_floating_point:
            leaves.append(torch.randn(*next(sizes), generator=generator).to(item.dtype))
        else:
            leaves.append(torch.zeros(*next(sizes), dtype=item.dtype))
    args, kwargs = pytree.tree_unflatten(leaves, network.pytree_info.in_spec)
    return Inputs(args, kwargs)

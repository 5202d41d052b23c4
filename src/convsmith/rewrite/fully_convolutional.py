# SPDX-License-Identifier: Apache-2.0
"""`to_fully_convolutional`: a classifier becomes a network that slides over larger images."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves, tree_map

from convsmith.capture import Captured, Contract, Tier, capture
from convsmith.errors import RewriteError
from convsmith.rewrite.inputs import Inputs, random_like
from convsmith.rewrite.rules.linear_to_convolution import convert
from convsmith.rewrite.surgery import place
from convsmith.rewrite.verify import Proof


def to_fully_convolutional(model: nn.Module, example: Any) -> nn.Module:
    """Turn a classifier into a network that gives a map of answers on larger images.

    y(x)[n, k, p, q] = model(x[n, :, p S : p S + h, q S : q S + w])[n, k] where nothing pads

    Linear layers become convolutions and pooling heads slide; h x w is the size of the example, S
    the product of the strides. At h x w the result equals the model, with shape (N, K, 1, 1); where
    layers pad, larger images see real neighbours instead of zeros.

    To optimize or capture the result, give an example larger than the native size: torch takes the
    single answer at the native size for a constant, and would fix height and width there.

    Args:
        model: A classifier; it is not changed, and its inference path is taken.
        example: Inputs at the native size, a tensor or a tuple of tensors.

    Raises:
        CaptureError: if the graph of the model cannot be taken.
        RewriteError: if a layer has no counterpart that slides, naming it.

    Cost: on a native image, as the model; four runs to prove it.
    Source: Long, Shelhamer and Darrell 2015, arXiv:1411.4038.

    >>> head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 6, 10))
    >>> network = to_fully_convolutional(
    ...     torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), head), torch.zeros(1, 3, 8, 8)
    ... )
    >>> network(torch.zeros(1, 3, 8, 8)).shape, network(torch.zeros(1, 3, 10, 13)).shape
    (torch.Size([1, 10, 1, 1]), torch.Size([1, 10, 3, 6]))
    """
    captured = capture(model, example)
    proof = Proof(captured, random_like(Inputs(captured.example, captured.kwargs), seed=0))
    converted, twin = captured.copy(), proof.twin.copy()
    for network in (converted, twin):
        convert(network)
        network.refresh()
    exact, own = proof.check(converted, twin, reshaped=True)
    if exact.why or own.why:
        raise RewriteError(
            f"to_fully_convolutional: the converted {type(model).__name__} differs from the model "
            f"at its native size: {exact.why or own.why}; flatten its map in one step."
        )
    _free_sizes(converted)
    return converted.module


def _free_sizes(captured: Captured) -> None:
    """Let height and width grow from the native size, and name the layer that cannot."""
    native = captured.contract.inputs
    larger, larger_kwargs = tree_map(_doubled, (captured.example, captured.kwargs))
    # Shapes are derived at twice the native size: at the native one, torch would take the 1x1
    # answer for a constant.
    grown = Captured(captured.module, larger, larger_kwargs, captured.was_training)
    _name_what_is_tied(grown)
    grown.refresh(widen=True)
    contract = grown.contract
    if contract.tier not in (Tier.BATCH_AND_SPACE, Tier.SPACE):
        raise RewriteError(
            f"to_fully_convolutional: sizes remain fixed ({contract.describe()}); a size that is "
            f"written into the model's code keeps them; compute it from the input's size."
        )
    inputs = tuple(
        replace(new, sizes=old.sizes) for old, new in zip(native, contract.inputs, strict=True)
    )
    least = [
        f"{item.name}.size({axis}) >= {size}"
        for item in inputs
        for axis, size in enumerate(item.sizes)
        if axis >= 2
    ]
    # Torch also guards what only its memory layout asks ("more than one pixel"): the proof ran at
    # the native size, so a relation that fails there is none of the network's.
    single = {item.name: (1, *item.sizes[1:]) for item in inputs if item.is_tensor}
    real = [g for g in contract.guards if Contract(inputs, (g,)).accepts(single)]
    captured.module.meta["contract"] = Contract(inputs, (*least, *real))


def _doubled(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.new_zeros(
        [size * 2 if axis >= 2 else size for axis, size in enumerate(value.shape)]
    )


def _name_what_is_tied(captured: Captured) -> None:
    """Run the network's shapes alone; the first layer that fails is the one to name."""
    module = captured.copy().module.to("meta")
    leaves = tree_leaves(tree_map(_on_meta, (captured.example, captured.kwargs)))
    with torch.no_grad():
        _NamesCulprit(module).run(*leaves, enable_io_processing=False)


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


class _NamesCulprit(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise RewriteError(
                f"to_fully_convolutional: {place(n)} ({n.target}) is tied to the native size: "
                f"{reason}; only layers that work at every position alike can slide."
            ) from error

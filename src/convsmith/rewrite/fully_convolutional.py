# SPDX-License-Identifier: Apache-2.0
"""`to_fully_convolutional`: a classifier becomes a network that slides over larger images."""

import copy
import gc
from dataclasses import replace
from typing import Any

from torch import nn
from torch.utils._pytree import tree_map

from convsmith.capture import Captured, Contract, Tier, capture
from convsmith.errors import RewriteError
from convsmith.rewrite.inputs import Inputs, random_like
from convsmith.rewrite.locality import Locality, check_crop, enlarged
from convsmith.rewrite.rules.linear_to_convolution import convert
from convsmith.rewrite.verify import Proof


def to_fully_convolutional(model: nn.Module, example: Any) -> nn.Module:
    """Turn a classifier into a network that gives a map of answers on larger images.

    y(x)[n, k, p, q] = model(x[n, :, p S : p S + h, q S : q S + w])[n, k] where nothing pads

    Linear layers become convolutions and pooling heads slide; what has no counterpart on maps runs
    on a row for each place; h x w is the size of the example, S the product of the strides. At
    h x w the result equals the model, with shape (N, K, 1, 1); where layers pad, larger images see
    real neighbours instead of zeros. A pool that only gates a map (squeeze and excite, image
    pooling) goes on looking at the whole image, so that behind a gate y is no longer the answer to
    the crop. Whatever else reads the whole map is refused.

    To optimize or capture the result, give an example larger than the native size: torch takes the
    single answer at the native size for a constant, and would fix height and width there.

    Args:
        model: A classifier; it is not changed, and its inference path is taken.
        example: Inputs at the native size, a tensor or a tuple of tensors.

    Raises:
        CaptureError: if the graph of the model cannot be taken.
        RewriteError: if a layer has no counterpart that slides or reads the whole map (a norm,
            softmax or attention over positions, a resize to a fixed size), naming it; if nothing
            pads and the answer one step on differs from the model's on that crop.

    Cost: on a native image, as the model; seven runs to prove it.
    Source: Long, Shelhamer and Darrell 2015, arXiv:1411.4038.

    >>> head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4 * 6 * 6, 10))
    >>> network = to_fully_convolutional(
    ...     torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), head), torch.zeros(1, 3, 8, 8)
    ... )
    >>> network(torch.zeros(1, 3, 8, 8)).shape, network(torch.zeros(1, 3, 10, 13)).shape
    (torch.Size([1, 10, 1, 1]), torch.Size([1, 10, 3, 6]))
    """
    captured = capture(model, example, shared=True)
    captured.fix_sizes()
    converted = _converted(captured)
    Locality(converted)  # before the proof, whose numbers in float64 would be held meanwhile
    proof = Proof(captured, random_like(Inputs(captured.example, captured.kwargs), seed=0))
    twin = _converted(proof.twin)
    exact, own = proof.check(converted, twin, reshaped=True)
    if exact.why or own.why:
        raise RewriteError(
            f"to_fully_convolutional: the converted {type(model).__name__} differs from the model "
            f"at its native size: {exact.why or own.why}; flatten its map in one step."
        )
    _free_sizes(converted)
    check_crop(converted, twin, proof)
    del proof, twin
    gc.collect()  # graphs refer to themselves; their numbers in float64 are twice the network's
    return copy.deepcopy(converted.module)


def _converted(captured: Captured) -> Captured:
    """The sliding form of a network, with the same numbers: most of them are not held twice."""
    sliding = captured.copy(lambda tensor: tensor)
    convert(sliding)
    sliding.refresh()
    return sliding


def _free_sizes(captured: Captured) -> None:
    """Let height and width grow from the native size."""
    native = captured.contract.inputs
    larger, larger_kwargs = tree_map(enlarged, (captured.example, captured.kwargs))
    # Shapes are derived at twice the native size: at the native one, torch would take the 1x1
    # answer for a constant.
    grown = Captured(captured.module, larger, larger_kwargs, captured.was_training)
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

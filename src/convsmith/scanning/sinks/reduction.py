# SPDX-License-Identifier: Apache-2.0
"""What is kept of the scores, decided where they are computed: a thousand classes need not reach
the disk.

    scores          the network's result, float32
    probabilities   softmax over the channels; of one channel, the logistic function
    labels          argmax over the channels; of one channel, whether it is positive
    topk            the k best classes, best first: their indices and their scores

Equal scores go to the lower class.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convsmith.errors import ArgumentError
from convsmith.scanning.plan import Plan


@dataclass(frozen=True)
class Part:
    """One array of a result.

    Attributes:
        name: Its name beside others; empty where it is the only one.
        channels: Its channels.
        dtype: Its type. Of class numbers, the smallest whose highest value is still free.
        missing: What stands where no tile was written: NaN, or that highest value.
    """

    name: str
    channels: int
    dtype: np.dtype
    missing: float | int


def parts_of(plan: Plan) -> tuple[Part, ...]:
    """The arrays that a plan's result has.

    Raises:
        ArgumentError: if more classes are asked for than there are.
    """
    if plan.output in ("scores", "probabilities"):
        return (Part("", plan.out_channels, np.dtype(np.float32), float("nan")),)
    highest = next(top for top in (2**8 - 1, 2**16 - 1, 2**32 - 1) if plan.out_channels <= top)
    classes = np.min_scalar_type(highest)
    if plan.output == "labels":
        return (Part("", 1, classes, highest),)
    if plan.k > plan.out_channels:
        raise ArgumentError(
            f"scan: the {plan.k} best of {plan.out_channels} classes are asked for; k is at most "
            f"the number of classes"
        )
    return (
        Part("indices", plan.k, classes, highest),
        Part("values", plan.k, np.dtype(np.float32), float("nan")),
    )


def reduced(scores: Tensor, plan: Plan) -> tuple[np.ndarray, ...]:
    """What a plan keeps of scores of shape (n, channels, *space): one array for each part.

    >>> from convsmith.scanning.tiling import AxisPlan
    >>> axis = AxisPlan.fitted(size=2, outputs=2, stride=1, a=0, b=0, period=1, core=2)
    >>> plan = Plan(axes=(axis,), in_channels=1, out_channels=3, output="topk", k=2)
    >>> indices, values = reduced(torch.tensor([[[1.0, 5.0], [9.0, 5.0], [3.0, 2.0]]]), plan)
    >>> indices.tolist(), values.tolist()
    ([[[1, 0], [2, 1]]], [[[9.0, 5.0], [3.0, 5.0]]])
    """
    scores = scores.detach().float()
    arrays = {"scores": _scores, "probabilities": _probabilities, "labels": _labels, "topk": _topk}
    kept = arrays[plan.output](scores, plan.k)
    return tuple(
        np.ascontiguousarray(tensor.cpu().numpy(), part.dtype)
        for tensor, part in zip(kept, parts_of(plan), strict=True)
    )


def _scores(scores: Tensor, _: int) -> tuple[Tensor, ...]:
    return (scores,)


def _probabilities(scores: Tensor, _: int) -> tuple[Tensor, ...]:
    return (scores.sigmoid() if scores.shape[1] == 1 else scores.softmax(1),)


def _labels(scores: Tensor, _: int) -> tuple[Tensor, ...]:
    if scores.shape[1] == 1:
        return (scores > 0,)
    return (scores.argmax(1, keepdim=True),)


def _topk(scores: Tensor, k: int) -> tuple[Tensor, ...]:
    # `torch.topk` leaves open which of equal scores it takes; a stable sort takes the lower class.
    values, indices = torch.sort(scores, dim=1, descending=True, stable=True)
    return indices[:, :k].clone(), values[:, :k].clone()  # or the others stay in memory, too

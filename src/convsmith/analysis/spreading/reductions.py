# SPDX-License-Identifier: Apache-2.0
"""Operators that make one of many, or set each in relation to many: sums, softmax, norms."""

from typing import Any

from convsmith.analysis.operators import plain_name
from convsmith.analysis.reach import Reach
from convsmith.analysis.spreading.step import Answer, Rule, Step


def _reduce(step: Step) -> Answer:
    found = step.first()
    dims = step.given.get("dim", step.given.get("dims"))
    axes = _axes(found, dims)
    spread = found.reduced(axes, step.whole(f"takes the {step.name} over all places"))
    if spread.shape != step.shape:
        for axis in sorted(axes, reverse=True):
            spread = spread.without_axis(axis)
    return [spread] * len(step.shapes) if len(step.shapes) > 1 else spread


def _axes(found: Reach, dims: Any) -> list[int]:
    if dims is None or dims == []:
        return list(range(found.rank))
    return [found.axis(a) for a in ([dims] if isinstance(dims, int) else dims)]


def _against(step: Step, axes: list[int], why: str) -> Answer:
    """Every element, and besides what all along these axes depend on."""
    found = step.first()
    return step.union([found, found.reduced(axes, step.whole(why))], found.shape)


def _softmax(step: Step) -> Answer:
    why = f"takes the {plain_name(step.node).strip('_')} over all places"
    answer = _against(step, _axes(step.first(), step.given.get("dim")), why)
    return [answer] * len(step.shapes) if len(step.shapes) > 1 else answer  # type: ignore[list-item]


def _batch_norm(step: Step) -> Answer:
    found = step.arg("input")
    if found is None or not step.given.get("training", False):
        return found
    axes = [axis for axis in range(found.rank) if axis != 1]
    return _against(step, axes, "normalises by the mean over all places")


def _instance_norm(step: Step) -> Answer:
    found = step.arg("input")
    if found is None or not step.given.get("use_input_stats", True):
        return found
    return _against(step, list(range(2, found.rank)), "normalises by the mean over all places")


def _group_norm(step: Step) -> Answer:
    axes = list(range(1, step.first().rank))
    return _against(step, axes, "normalises by the mean over all places")


def _layer_norm(step: Step) -> Answer:
    found = step.first()
    axes = list(range(found.rank - len(step.given["normalized_shape"]), found.rank))
    return _against(step, axes, "normalises by the mean over all places")


def _recurrent(step: Step) -> Answer:
    """Every step of a sequence depends on the steps before it, and on those after it if it runs
    both ways; the batch axis stays.
    """
    found = step.first()
    batch = 0 if step.given.get("batch_first") else 1
    axes = [axis for axis in range(found.rank) if axis != batch]
    spread = found.reduced(axes, step.whole("runs along all places"))
    return [spread.broadcast(shape) if len(shape) == spread.rank else None for shape in step.shapes]


REDUCTIONS: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("mean", "sum", "amax", "amin", "max", "min", "argmax", "argmin", "prod", "std"),
            *("var", "norm", "linalg_vector_norm", "logsumexp", "any", "all", "std_mean"),
            *("var_mean", "median", "nansum", "count_nonzero", "mode", "aminmax"),
        ),
        _reduce,
    ),
    **dict.fromkeys(
        (
            *("softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum", "cumprod", "sort"),
            *("logcumsumexp", "argsort", "renorm"),
        ),
        _softmax,
    ),
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
}

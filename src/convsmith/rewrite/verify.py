# SPDX-License-Identifier: Apache-2.0
"""Prove a rewrite: the whole network is run before and after, in float64 and in its own precision.

An exact rewrite is an algebraic identity, so in float64 it may move an output by float64 rounding
only; a wrong one moves it by many orders more. How much rounding moves an output depends on the
network, and the network itself tells: its own precision against float64, on the same inputs, is an
error of `own` relative to the largest output. Rounding errors scale with the unit u of the
precision, so two ways of computing the same function differ by about own * (u64 / u) in float64 and
by about own in the model's precision. Allowed are

    proof bound (float64)   max(16 own u64 / u, 4 sqrt(n) u64)
    bound (own precision)   max(16 own,         4 sqrt(n) u)

16 leaves room for a rewrite that sums in another order; the second term is the probabilistic bound
for n roundings in a row (Higham and Mary 2019, doi:10.1137/18M1226312, with lambda = 4), for
networks whose own error happens to be 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_aggregate
from torch.utils._pytree import tree_flatten, tree_map

from convsmith.capture import Captured, weight_of
from convsmith.errors import UnsupportedError
from convsmith.rewrite.cost import terms
from convsmith.rewrite.inputs import Inputs

U64 = torch.finfo(torch.float64).eps / 2


@dataclass(frozen=True)
class Difference:
    """How far outputs moved, over all leaves; `why` says what is wrong about it, if anything."""

    max_abs: float = 0.0
    max_rel: float = 0.0
    why: str | None = None

    def __or__(self, other: "Difference") -> "Difference":
        return Difference(
            max(self.max_abs, other.max_abs),
            max(self.max_rel, other.max_rel),
            self.why or other.why,
        )


def compare(before: Any, after: Any) -> Difference:
    """Compare two outputs leaf by leaf.

    A relative error is against the largest magnitude of its leaf before; of whole numbers it is the
    share that changed. NaN and infinity must stand at the same places; shapes, dtypes and
    everything that is no tensor must be equal.
    """
    old, old_structure = tree_flatten(before)
    new, new_structure = tree_flatten(after)
    if old_structure != new_structure:
        return Difference(
            why=f"the output's structure changed from {old_structure} to {new_structure}"
        )
    total = Difference()
    for p, q in zip(old, new, strict=True):
        total |= _compare_leaf(p, q)
    return total


def _compare_leaf(old: Any, new: Any) -> Difference:
    if not isinstance(old, Tensor) or not isinstance(new, Tensor):
        return Difference(why=None if old == new else f"an output changed from {old!r} to {new!r}")
    if old.shape != new.shape or old.dtype != new.dtype:
        shapes = f"{tuple(old.shape)} {old.dtype} to {tuple(new.shape)} {new.dtype}"
        return Difference(why=f"an output changed from {shapes}")
    if not old.is_floating_point() and not old.is_complex():
        changed = (old != new).double()
        moved = (old.double() - new.double()).abs()
        return (
            Difference(float(moved.max()), float(changed.mean())) if old.numel() else Difference()
        )
    special = ~(torch.isfinite(old) & torch.isfinite(new))
    if not torch.equal(_nan_safe(old[special]), _nan_safe(new[special])):
        return Difference(why="NaN or infinity appeared or vanished")
    wide = torch.complex128 if old.is_complex() else torch.float64
    p, q = old[~special].to(wide), new[~special].to(wide)
    if not p.numel():
        return Difference()
    max_abs, largest = float((p - q).abs().max()), float(p.abs().max())
    return Difference(max_abs, max_abs / largest if largest else (float("inf") if max_abs else 0.0))


def _nan_safe(special: Tensor) -> Tensor:
    """NaN as 2, infinities by sign, everything else as 0: equal means the same class."""
    parts = torch.view_as_real(special) if special.is_complex() else special
    return parts.isnan() * 2 + parts.isinf() * parts.nan_to_num(0.0, 1.0, -1.0)


def run(captured: Captured, inputs: Inputs) -> Any:
    """Run the captured network without gradients."""
    with torch.no_grad():
        return captured.module(*inputs.args, **inputs.kwargs)


def in_float64(captured: Captured) -> Captured:
    """Return the network computed in float64: parameters, constants, every dtype in the graph."""
    twin = captured.copy(_widened)
    for node in twin.module.graph.nodes:
        node.args, node.kwargs = map_aggregate((node.args, node.kwargs), _widened)
        _widen_new_tensor(node)
        constant = weight_of(twin, node)
        if constant is not None and _widened(constant.dtype) is not constant.dtype:
            owner, _, leaf = str(node.target).rpartition(".")
            setattr(twin.module.get_submodule(owner), leaf, constant.double())
    twin.example = tree_map(_widened, twin.example)
    twin.kwargs = tree_map(_widened, twin.kwargs)
    twin.refresh(twin_of=captured)
    return twin


def _widen_new_tensor(node: Node) -> None:
    """Let `torch.ones(3)`, whose dtype the default decides, be float64."""
    made = node.meta.get("val")
    is_default = node.kwargs.get("dtype", 0) is None and not node.all_input_nodes
    if is_default and isinstance(made, Tensor) and made.is_floating_point():
        node.kwargs = dict(node.kwargs) | {"dtype": torch.float64}


def _widened(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return torch.float64 if value.is_floating_point else value
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if is_real else value


class Proof:
    """The network before any rewrite, run in both precisions, and the bounds that follow."""

    def __init__(self, captured: Captured, inputs: Inputs) -> None:
        self.inputs = inputs
        self.wide_inputs = Inputs(*tree_map(_widened, (inputs.args, inputs.kwargs)))
        try:
            self.twin = in_float64(captured)
            self.wide_outputs = run(self.twin, self.wide_inputs)
        except (RuntimeError, TypeError) as error:  # a device without float64 raises TypeError
            raise UnsupportedError(
                f"rewrite: the network does not run in float64, where rewrites are proved: {error}"
            ) from error
        self.outputs = run(captured, inputs)
        self.unit = _unit([*captured.module.parameters(), *tree_flatten(self.outputs)[0]])
        self.own = _own_error(self.wide_outputs, self.outputs)
        num_roundings = sum(map(terms, captured.module.graph.nodes))
        self.bound = max(16 * self.own, 4 * sqrt(num_roundings) * self.unit)
        self.proof_bound = self.bound * U64 / self.unit

    def check(
        self, candidate: Captured, twin: Captured, *, reshaped: bool = False
    ) -> tuple[Difference, Difference]:
        """Return how far a rewritten network and its float64 twin are from the original; `why`
        where too far.

        With `reshaped`, outputs may differ in shape as long as they hold the same numbers in the
        same order.
        """
        exact = self._judge(self.wide_outputs, run(twin, self.wide_inputs), "float64", reshaped)
        if exact.why:
            return exact, Difference()
        return exact, self._judge(self.outputs, run(candidate, self.inputs), "own", reshaped)

    def _judge(self, before: Any, after: Any, precision: str, reshaped: bool) -> Difference:
        bound = self.proof_bound if precision == "float64" else self.bound
        found = compare(before, _as_shaped(before, after) if reshaped else after)
        if found.why or found.max_rel <= bound:
            return found
        moved = (
            f"outputs moved by {found.max_rel:.2g} in {precision} precision, allowed {bound:.2g}"
        )
        return found | Difference(why=moved)


def _as_shaped(before: Any, after: Any) -> Any:
    def shaped(old: Any, new: Any) -> Any:
        fits = isinstance(old, Tensor) and isinstance(new, Tensor) and old.numel() == new.numel()
        return new.reshape(old.shape) if fits else new

    return tree_map(shaped, before, after)


def _unit(values: Sequence[Any]) -> float:
    """Return the unit roundoff of the coarsest floating dtype."""
    dtypes = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()}
    return max((torch.finfo(dtype).eps / 2 for dtype in dtypes), default=U64)


def _own_error(wide: Any, own: Any) -> float:
    """Return the relative error of the network's own precision, where both are finite."""
    worst = 0.0
    for p, q in zip(tree_flatten(wide)[0], tree_flatten(own)[0], strict=True):
        if not isinstance(p, Tensor) or not isinstance(q, Tensor):
            continue
        if not p.is_floating_point():
            worst = max(worst, compare(p, q).max_rel)
        else:
            finite = torch.isfinite(p) & torch.isfinite(q)
            worst = max(worst, compare(p[finite], q[finite].double()).max_rel)
    return worst

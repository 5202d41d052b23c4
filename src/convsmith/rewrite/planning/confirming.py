# SPDX-License-Identifier: Apache-2.0
"""A plan is kept only if the planned network gives the same outputs, and gives them sooner.

Direct kernels may move an output by rounding, like any exact rewrite (`rewrite.verify`). Kernels
that round more were measured layer by layer; the bound grows by how much more than a direct sum the
coarsest of them rounds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from convsmith.capture import Captured
from convsmith.rewrite.certificate import Certificate, Cost, Refusal
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.planning.plan import TORCH, TORCH_CONTIGUOUS, Plan
from convsmith.rewrite.planning.planner import plan_kernels
from convsmith.rewrite.planning.rounding import MOST_ERROR
from convsmith.rewrite.timing import interleaved
from convsmith.rewrite.verify import Difference

_RULE = "plan_kernels"


@dataclass(frozen=True)
class Confirmed:
    """The network to go on with: planned, or as it was and the reason why."""

    captured: Captured
    plan: Plan | None
    bound: float
    refused: tuple[Refusal, ...] = ()


def confirmed_plan(
    captured: Captured,
    inputs: Inputs,
    difference: Callable[[Captured], Difference],
    *,
    bound: float,
    math: str,
    timing: bool,
    progress: Callable[[str], None],
) -> Confirmed:
    """Plan a network, and keep the plan if it holds; without "fast" kernels if those are to blame.

    Args:
        captured: The network, after all exact rewrites.
        inputs: A call at the size that matters.
        difference: How far a candidate's outputs are from the original model's.
        bound: What they may differ by, where every kernel sums directly.
    """
    refused: list[Refusal] = []
    for attempt in ("fast", "strict") if math == "fast" else ("strict",):
        planned, plan = plan_kernels(
            captured, inputs, math=attempt, timing=timing, progress=progress
        )
        if all(choice.kernel in (TORCH, TORCH_CONTIGUOUS) for choice in plan.choices):
            return Confirmed(captured, None, bound, tuple(refused))
        progress("comparing the planned network")
        allowed = bound * plan.amplification
        found = difference(planned)
        if not found.why and found.max_rel <= allowed:
            why = _is_slower(captured, planned, inputs) if timing else None
            if why is None:
                return Confirmed(planned, plan, allowed, tuple(refused))
            refused.append(Refusal(rule=_RULE, where=("the network",), why=why))
            break
        moved = f"outputs moved by {found.max_rel:.2g}, allowed {allowed:.2g}"
        refused.append(
            Refusal(rule=_RULE, where=("the network",), why=f"{attempt}: {found.why or moved}")
        )
    return Confirmed(captured, None, bound, tuple(refused))


def _is_slower(captured: Captured, planned: Captured, inputs: Inputs) -> str | None:
    """Why the plan is dropped, if it does not gain what its parts promised."""
    times = interleaved(captured.module, planned.module, inputs, budget_s=1.0)
    before, after = times.before.median_ms, times.after.median_ms
    if after <= before:
        return None
    return f"no gain: {after:.3g} ms planned, {before:.3g} ms without"


def plan_certificates(plan: Plan) -> list[Certificate]:
    """One for each layer that rounds more than a direct sum."""
    return [
        Certificate(
            rule=_RULE,
            where=choice.where,
            what=f"{choice.what} by {choice.kernel}",
            before=Cost(macs=choice.macs, parameters=0, ms=choice.ms.get(TORCH)),
            after=Cost(macs=choice.macs, parameters=0, ms=choice.ms.get(choice.kernel)),
            max_abs_error=choice.largest_error or 0.0,
            max_rel_error=choice.error,
            bound=MOST_ERROR,
            proof_error=choice.error,
            proof_bound=MOST_ERROR,
            kind="bounded",
        )
        for choice in plan.choices
        if choice.error is not None
    ]

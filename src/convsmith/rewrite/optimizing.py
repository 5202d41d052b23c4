# SPDX-License-Identifier: Apache-2.0
"""`optimize`: capture a network, rewrite it with proof, measure it before and after."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any, Literal

import torch
from torch import nn

from convsmith import native
from convsmith.capture import Captured, Network, capture, spell_out
from convsmith.errors import ArgumentError
from convsmith.rewrite.certificate import Certificate, Cost, Refusal
from convsmith.rewrite.cost import cost
from convsmith.rewrite.engine import Rewritten, rewrite
from convsmith.rewrite.evaluation import (
    Comparison,
    Images,
    as_images,
    compare_once,
    evaluate,
    has_free_batch,
    proof_inputs,
    timed_inputs,
)
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.machine import machine
from convsmith.rewrite.optimized import Measured, Optimized, Report
from convsmith.rewrite.planning import Plan
from convsmith.rewrite.planning.confirming import confirmed_plan, plan_certificates
from convsmith.rewrite.rule import Rule
from convsmith.rewrite.rules import EXACT_RULES, KERNEL_RULES
from convsmith.rewrite.timing import Times, interleaved
from convsmith.rewrite.verify import Difference


def optimize(
    model: nn.Module,
    example: Any,
    *,
    images: Any = None,
    max_drop: float = 0.0,
    math: Literal["fast", "strict"] = "fast",
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    batch_size: int = 50,
    timing: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Optimized:
    """Give back the same network, cheaper, with proof.

    Exact rules run over the captured graph until none applies: what does nothing is dropped,
    batch-norms are folded, pointwise layers merged. Each rewrite is proved in float64 and measured
    in the model's own precision; what does not hold is rolled back and listed in
    `report.refused`. Then each convolution, with the activation and the addition behind it, is
    given to the kernel that is fastest on this machine at the example's size: `report.plan`. The
    model is not changed.

    Args:
        model: Any module `torch.export` can trace, in any mode, precision and on any device.
        example: A tensor, or the tuple of positional inputs; costs and times are those of one call
            with it.
        images: Images as the model takes them, (N, C, ...), or a pair of those and N class
            numbers: outputs are compared on all of them, right answers counted. None: random.
        max_drop: Accuracy that may be lost, 0 to 1. Recorded; every rule so far is exact.
        math: "fast" admits kernels that multiply less and round a little more (Winograd,
            Strassen), where their measured error is within 1e-5 of float64; "strict" sums directly
            everywhere.
        seed: Of the random inputs.
        kwargs: Keyword inputs.
        batch_size: Images per run.
        timing: Whether to time the candidates for each convolution, and both networks; without,
            kernels are taken by a fixed rule and `ms` is None.
        progress: Called with a line of text at each step.

    Raises:
        ArgumentError: if an argument is outside its choices, or images do not fit the model.
        CaptureError: if the graph cannot be taken.
        UnsupportedError: if the network does not run in float64.

    Cost: a capture, two runs per rule that applies, two over the images, seconds of timing.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    >>> optimized = optimize(model.eval(), torch.zeros(1, 3, 16, 16), timing=False)
    >>> [certificate.what for certificate in optimized.certificates]
    ['batch-norm 1 folded into 0']
    >>> optimized.report.before.parameters, optimized.report.after.parameters
    (232, 224)
    """
    settings = _checked(max_drop, math, seed, batch_size)
    say = progress or _silent
    say("capturing the graph")
    captured = capture(model, example, kwargs=kwargs)
    spell_out(captured)  # a network that was planned before is planned anew
    if isinstance(model, Network):
        captured.module.about.update(model.about)
    given = Inputs(example if isinstance(example, tuple) else (example,), dict(kwargs or {}))
    task = _Task(
        copy.deepcopy(model).eval(), captured, as_images(images, captured), given, settings
    )

    rewritten = rewrite(captured, _rules(captured), task.proof_inputs, progress=say)
    say("comparing outputs")
    rewritten, found = task.confirmed(rewritten)
    rewritten, plan, found = task.planned(rewritten, found, timing, say)
    times = None
    if timing:
        say("timing before and after")
        times = interleaved(task.model, rewritten.captured.module, task.timed_inputs)
    return Optimized(rewritten.captured, task.report(rewritten, plan, found, times))


class _Task:
    """One call of `optimize`: the model as it was, and what it is measured on."""

    def __init__(
        self,
        model: nn.Module,
        captured: Captured,
        images: Images | None,
        example: Inputs,
        settings: dict[str, Any],
    ) -> None:
        self.model, self.captured, self.images, self.settings = model, captured, images, settings
        self.proof_inputs = proof_inputs(captured, images, settings["seed"])
        self.timed_inputs = timed_inputs(example, images, settings["seed"])
        # capture repeats a single image to two: costs are told for the example as given
        self.repeated = _batch(captured.example), _batch(example.args)

    def confirmed(self, rewritten: Rewritten) -> tuple[Rewritten, Comparison]:
        """Compare on all inputs; drop the rewrites if these show what the few did not."""
        found = self._compared(rewritten.captured)
        if not found.difference.why and found.difference.max_rel <= rewritten.bound:
            return rewritten, found
        moved = f"outputs moved by {found.difference.max_rel:.2g}, allowed {rewritten.bound:.2g}"
        why = f"rolled back after all inputs: {found.difference.why or moved}"
        refused = [Refusal(rule=c.rule, where=c.where, why=why) for c in rewritten.certificates]
        original = replace(
            rewritten,
            captured=self.captured.copy(),
            certificates=[],
            refused=[*rewritten.refused, *refused],
        )
        return original, self._compared(original.captured)

    def planned(
        self, rewritten: Rewritten, found: Comparison, timing: bool, say: Callable[[str], None]
    ) -> tuple[Rewritten, Plan | None, Comparison]:
        """Choose how each convolution is computed; what was found before stays if none is chosen.

        The planned network is compared with the original on all inputs.
        """
        compared: list[Comparison] = []

        def difference(candidate: Captured) -> Difference:
            compared.append(self._compared(candidate))
            return compared[-1].difference

        done = confirmed_plan(
            rewritten.captured,
            self.timed_inputs,
            difference,
            bound=rewritten.bound,
            math=self.settings["math"],
            timing=timing,
            progress=say,
        )
        rewritten = replace(rewritten, refused=[*rewritten.refused, *done.refused])
        if done.plan is None:
            return rewritten, None, found
        kept = replace(
            rewritten,
            captured=done.captured,
            bound=done.bound,
            certificates=[*rewritten.certificates, *plan_certificates(done.plan)],
        )
        return kept, done.plan, compared[-1]

    def _compared(self, captured: Captured) -> Comparison:
        after = captured.module
        if self.images is None:
            return compare_once(self.model, after, self.proof_inputs)
        is_free = has_free_batch(self.captured)
        size = self.settings["batch_size"] if is_free else _batch(self.captured.example)
        return evaluate(self.model, after, self.images, batch_size=size)

    def report(
        self, rewritten: Rewritten, plan: Plan | None, found: Comparison, times: Times | None
    ) -> Report:
        """Put together everything that was found."""
        certificates = tuple(self._as_given(c) for c in rewritten.certificates)
        before = self._measured(found, self.captured, times)
        return Report(
            model=type(self.model).__name__,
            before=replace(before, parameters=sum(p.numel() for p in self.model.parameters())),
            after=self._measured(found, rewritten.captured, times),
            max_abs_error=found.difference.max_abs,
            max_rel_error=found.difference.max_rel,
            bound=rewritten.bound,
            proof_error=max(
                (c.proof_error for c in certificates if c.kind == "exact"), default=0.0
            ),
            proof_bound=rewritten.proof_bound,
            certificates=certificates,
            refused=tuple(rewritten.refused),
            notes=tuple(self._notes(rewritten)),
            accepts=rewritten.captured.contract.describe(),
            settings=self.settings | {"timed_rounds": times.rounds if times else 0},
            machine=machine(),
            plan=plan,
        )

    def _measured(self, found: Comparison, network: Captured, times: Times | None) -> Measured:
        is_before = network is self.captured
        score = found.before if is_before else found.after
        time = None if times is None else times.before if is_before else times.after
        has_labels = self.images is not None and self.images.labels is not None
        return Measured(
            top1=score.top1 if has_labels else None,
            top5=score.top5 if has_labels else None,
            images=0 if self.images is None else len(self.images.x),
            ms=time.median_ms if time else None,
            ms_quartiles=time.quartiles_ms if time else None,
            macs=self._scaled(cost(network)).macs,
            parameters=cost(network).parameters,
        )

    def _as_given(self, certificate: Certificate) -> Certificate:
        return replace(
            certificate,
            before=self._scaled(certificate.before),
            after=self._scaled(certificate.after),
        )

    def _scaled(self, counted: Cost) -> Cost:
        at_capture, as_given = self.repeated
        return replace(counted, macs=counted.macs * as_given // at_capture)

    def _notes(self, rewritten: Rewritten) -> list[str]:
        notes = []
        if self.captured.was_training:
            notes.append("the model was in training mode: its inference path was optimized")
        if self.images is None:
            seed = self.settings["seed"]
            notes.append(
                f"no images were given: outputs were compared on random inputs, seed {seed}"
            )
        nodes = self.captured.module.graph.nodes
        if not any("batch_norm" in str(node.target) for node in nodes):
            notes.append(
                "the graph has no batch-norm (folded already, or never there), so little is left "
                "to rewrite"
            )
        if not rewritten.certificates:
            notes.append("nothing was rewritten: no exact rule applies")
        if self.settings["max_drop"]:
            notes.append("max_drop was not spent: every rule is exact")
        return notes


def _rules(captured: Captured) -> tuple[Rule, ...]:
    """The rules for a network, those for kernels only where kernels may compute it."""
    tensors = [*captured.module.parameters(), *captured.module.buffers()]
    for_kernels = native.available() and all(
        t.is_cpu and t.dtype == torch.float32 for t in tensors if t.is_floating_point()
    )
    return (*EXACT_RULES, *KERNEL_RULES) if for_kernels else EXACT_RULES


def _batch(args: tuple[Any, ...]) -> int:
    """Return the length of the first input, 1 where it has none."""
    first = next((a for a in args if isinstance(a, torch.Tensor) and a.dim()), None)
    return 1 if first is None else max(1, len(first))


def _silent(line: str) -> None:
    pass


def _checked(max_drop: float, math: str, seed: int, batch_size: int) -> dict[str, Any]:
    is_number = isinstance(max_drop, int | float) and isfinite(max_drop)
    if not is_number or not 0 <= max_drop <= 1:
        raise ArgumentError(f"optimize: max_drop is {max_drop!r}; it is a share, from 0 to 1.")
    if math not in ("fast", "strict"):
        raise ArgumentError(f'optimize: math is {math!r}; choose "fast" or "strict".')
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ArgumentError(f"optimize: batch_size is {batch_size!r}; it is a whole number >= 1.")
    if not isinstance(seed, int):
        raise ArgumentError(f"optimize: seed is {seed!r}; it is a whole number.")
    return {"max_drop": max_drop, "math": math, "seed": seed, "batch_size": batch_size}


def _proof_error(found: tuple[Certificate, ...]) -> float:
    """The largest in float64, where only exact rewrites are proved."""
    return max((c.proof_error for c in found if c.kind == "exact"), default=0.0)

# SPDX-License-Identifier: Apache-2.0
"""Run rules over a captured graph until nothing changes; prove each, keep what holds, roll back
what does not.

for each rule:  copy -> apply at all places -> run before and after (float64 and own precision)
                  within bounds:  keep, one certificate per place
                  not:            drop the copy, try place by place, keep those that hold, report
                  the others
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from convsmith.capture import Captured
from convsmith.rewrite.certificate import Certificate, Cost, Refusal
from convsmith.rewrite.cost import cost
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.rule import Rule, Site
from convsmith.rewrite.surgery import place
from convsmith.rewrite.verify import Proof

Progress = Callable[[str], None]


@dataclass
class Rewritten:
    """A rewritten network, a certificate for every change, a reason for every place left alone."""

    captured: Captured
    bound: float
    proof_bound: float
    certificates: list[Certificate] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class _Change:
    site: Site
    before: Cost
    after: Cost


def rewrite(
    captured: Captured, rules: Sequence[Rule], inputs: Inputs, *, progress: Progress | None = None
) -> Rewritten:
    """Apply rules to a copy of a captured network, in order and again until none applies.

    Raises:
        UnsupportedError: if the network does not run in float64, so that nothing can be proved.

    Cost: two runs of the network to begin with, and two for each rule that changes something (one
    of them in float64).
    """
    work = _Work(captured, inputs)
    changed = True
    while changed:
        changed = False
        for rule in rules:
            names = work.places(rule)
            if names:
                if progress:
                    progress(f"{rule.name}: {len(names)} place{'s' if len(names) > 1 else ''}")
                changed |= work.attempt(rule, names)
    work.result.refused += [
        refusal for rule in rules for refusal in _refusals(work.result.captured, rule)
    ]
    return work.result


class _Work:
    """The network as accepted so far, its float64 twin, and the places not to be tried again."""

    def __init__(self, captured: Captured, inputs: Inputs) -> None:
        self.proof = Proof(captured, inputs)
        self.result = Rewritten(captured.copy(), self.proof.bound, self.proof.proof_bound)
        self.twin = self.proof.twin
        self.rolled_back: set[tuple[str, str]] = set()

    def places(self, rule: Rule) -> list[str]:
        """Return the names of the nodes where the rule applies and was not rolled back before."""
        captured = self.result.captured
        return [
            node.name
            for node in captured.module.graph.nodes
            if isinstance(rule.match(captured, node), Site)
            and (rule.name, node.name) not in self.rolled_back
        ]

    def attempt(self, rule: Rule, names: Sequence[str]) -> bool:
        """Apply a rule at places at once, or one by one if that fails; tell if any was kept."""
        why = self._try(rule, names)
        if why is None:
            return True
        if len(names) > 1:
            kept = [self.attempt(rule, [name]) for name in names]
            return any(kept)
        (name,) = names
        self.rolled_back.add((rule.name, name))
        node = next(n for n in self.result.captured.module.graph.nodes if n.name == name)
        refusal = Refusal(rule=rule.name, where=(place(node),), why=f"rolled back: {why}")
        self.result.refused.append(refusal)
        return False

    def _try(self, rule: Rule, names: Sequence[str]) -> str | None:
        """Apply on copies and keep them if the proof holds; else say why it does not."""
        candidate, twin = self.result.captured.copy(), self.twin.copy()
        try:
            changes = apply_at(candidate, rule, names)
            apply_at(twin, rule, names, twin_of=candidate)
            exact, own = self.proof.check(candidate, twin)
        except Exception as error:  # a rule that breaks the graph has failed; the copy is dropped
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if exact.why or own.why:
            return exact.why or own.why
        self.result.captured, self.twin = candidate, twin
        self.result.certificates += [
            Certificate(
                rule=rule.name,
                where=change.site.where,
                what=change.site.what,
                before=change.before,
                after=change.after,
                max_abs_error=own.max_abs,
                max_rel_error=own.max_rel,
                bound=self.proof.bound,
                proof_error=exact.max_rel,
                proof_bound=self.proof.proof_bound,
            )
            for change in changes
        ]
        return None


def apply_at(
    captured: Captured, rule: Rule, names: Sequence[str], *, twin_of: Captured | None = None
) -> list[_Change]:
    """Apply a rule in place at the named nodes where it still matches; refresh the graph."""
    changes = []
    nodes = {node.name: node for node in captured.module.graph.nodes}
    for name in names:
        node = nodes.get(name)
        site = rule.match(captured, node) if node is not None and not node._erased else None
        if isinstance(site, Site):
            before = cost(captured, site.nodes)
            changes.append(_Change(site, before, cost(captured, rule.apply(captured, site))))
    captured.refresh(twin_of=twin_of)
    return changes


def _refusals(captured: Captured, rule: Rule) -> list[Refusal]:
    found = ((node, rule.match(captured, node)) for node in captured.module.graph.nodes)
    return [
        Refusal(rule=rule.name, where=(place(node),), why=why)
        for node, why in found
        if isinstance(why, str)
    ]

# SPDX-License-Identifier: Apache-2.0
"""What a rewrite leaves behind: a certificate where it was done, a refusal where it was not."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a part of a network costs per forward pass of the example.

    `macs` counts convolutions of every kind, linear layers and matrix products as executed, zeros
    in a weight included; `parameters` counts numbers in trainable tensors; `ms` is the measured
    time in milliseconds, None where it was not measured.
    """

    macs: int
    parameters: int
    ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One rewrite at one place: what was done, what it cost and costs, and how far the outputs
    moved.

    The errors belong to the whole model after the rule was applied at all its places; relative
    errors are against the largest magnitude of the same output before. `proof_error` was measured
    in float64, where an identity leaves nothing but float64 rounding (`proof_bound`);
    `max_rel_error` in the model's own precision, beside `bound`.
    """

    rule: str
    where: tuple[str, ...]
    what: str
    before: Cost
    after: Cost
    max_abs_error: float
    max_rel_error: float
    bound: float
    proof_error: float
    proof_bound: float
    kind: Literal["exact", "bounded"] = "exact"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {**asdict(self), "where": list(self.where)}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A place that looked like a rule's and was left alone, or was rolled back, with the reason."""

    rule: str
    where: tuple[str, ...]
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {**asdict(self), "where": list(self.where)}

# SPDX-License-Identifier: Apache-2.0
"""What `optimize` gives back: the network, certificates, and a report in plain data."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from convsmith.capture import Captured, save
from convsmith.rewrite.certificate import Certificate, Refusal
from convsmith.rewrite.planning import Plan


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One network: right answers among so many images (None without labels), time, cost.

    `ms` is the median of a call on the example, `ms_quartiles` what half of the calls lay between.
    """

    top1: int | None
    top5: int | None
    images: int
    ms: float | None
    ms_quartiles: tuple[float, float] | None
    macs: int
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was done and found; `to_json` is what `convsmith optimize --json` prints.

    Errors are over all images (or random inputs) compared; `bound` is what rounding alone may do in
    the model's precision (and kernels that round more), `proof_error` what was found in float64,
    `proof_bound` what is allowed there. `plan` says how each convolution is computed; None if every
    one was left to torch.
    """

    model: str
    before: Measured
    after: Measured
    max_abs_error: float
    max_rel_error: float
    bound: float
    proof_error: float
    proof_bound: float
    certificates: tuple[Certificate, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...]
    accepts: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    plan: Plan | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "certificates": [certificate.to_json() for certificate in self.certificates],
            "refused": [refusal.to_json() for refusal in self.refused],
            "notes": list(self.notes),
            "plan": self.plan.to_json() if self.plan else None,
        }


@dataclass(frozen=True)
class Optimized:
    """The result of `optimize`."""

    captured: Captured
    report: Report

    @property
    def model(self) -> nn.Module:
        """The rewritten network: an ordinary module, called as the original was."""
        return self.captured.module

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """One certificate for each rewrite."""
        return self.report.certificates

    def save(
        self, folder: str | os.PathLike[str], *, about: Mapping[str, Any] | None = None
    ) -> None:
        """Write the network to a folder that `convsmith.load` reads; the report travels with it.

        Raises:
            UnsupportedError: if the graph calls operators that a folder may not hold.
            FormatError: if the folder exists and holds something else.
        """
        facts = self.captured.module.about | dict(about or {})
        save(self.captured, folder, about=facts | {"optimized": self.report.to_json()})

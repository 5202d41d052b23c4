# SPDX-License-Identifier: Apache-2.0
"""What a planner decided, in plain data."""

from dataclasses import asdict, dataclass, field
from typing import Any

TORCH, TORCH_CONTIGUOUS = "torch", "torch, contiguous"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One chain of convolutions and how it is computed.

    `ms` has the median time of each candidate at the example's size, empty if none was measured.
    `error` is the relative L2 error against float64 of a kernel that does not sum directly,
    `largest_error` that of one number, and `direct_error` the first one of torch's direct sum.
    """

    where: tuple[str, ...]
    what: str
    kernel: str
    why: str
    macs: int
    ms: dict[str, float] = field(default_factory=dict)
    error: float | None = None
    largest_error: float | None = None
    direct_error: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {**asdict(self), "where": list(self.where)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How every convolution of a network is computed, and for which machine that was decided.

    `layout_changes` counts the images whose memory order is changed on the way; `input_shapes` are
    those of the call that was measured.
    """

    choices: tuple[Choice, ...]
    layout_changes: int
    input_shapes: tuple[tuple[int, ...], ...]
    machine: dict[str, Any]
    math: str
    is_measured: bool

    @property
    def amplification(self) -> float:
        """How many times more than a direct sum the coarsest chosen kernel rounds; at least 1."""
        coarse = [c for c in self.choices if c.error is not None and c.direct_error]
        return max([1.0, *((c.error or 0.0) / (c.direct_error or 1.0) for c in coarse)])

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return asdict(self) | {
            "choices": [choice.to_json() for choice in self.choices],
            "input_shapes": [list(shape) for shape in self.input_shapes],
        }

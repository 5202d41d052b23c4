# SPDX-License-Identifier: Apache-2.0
"""Every multiplication that separation saves, as time: two claims from the literature, measured.

    python examples/savings.py [--quick]

16 to 32 channels by 3x3: 4,608 weights become 656. A 12 x 12 image of 3 channels to 256 by 5x5:
1,228,800 multiplications become 53,952. Each layer is timed beside its dense twin, turn by turn, on
one thread: as it is, and after `convsmith.optimize`. About three minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from recording import Panel, bars, options, record, say
from torch import nn

import convsmith as cs
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.timing import interleaved


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A dense layer and the separable one that replaces it."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    padding: int
    sizes: tuple[int, ...]

    def dense(self) -> nn.Module:
        """The layer that is replaced."""
        return self._layer(cs.Conv2d)

    def separable(self) -> nn.Module:
        """Depthwise, then pointwise."""
        return self._layer(cs.DepthwiseSeparableConv2d)

    def _layer(self, kind: Any) -> nn.Module:
        channels = (self.in_channels, self.out_channels)
        return kind(*channels, self.kernel, padding=self.padding, bias=False).eval()


CLAIMS = (
    Claim(
        name="3x3, 16 to 32",
        in_channels=16,
        out_channels=32,
        kernel=3,
        padding=1,
        sizes=(14, 28, 56, 112, 224),
    ),
    Claim(
        name="5x5, 3 to 256",
        in_channels=3,
        out_channels=256,
        kernel=5,
        padding=0,
        sizes=(12, 28, 56, 112),
    ),
)


def measured(claim: Claim, size: int, seconds: float) -> dict[str, Any]:
    """Weights, multiplications and times of both layers at one size."""
    x = torch.randn(1, claim.in_channels, size, size)
    layers = (claim.dense(), claim.separable())
    faster = tuple(cs.optimize(layer, x).model for layer in layers)
    inputs = Inputs((x,), {})
    found: dict[str, Any] = {"claim": claim.name, "size": size}
    for key, pair in (("eager", layers), ("optimized", faster)):
        times = interleaved(*pair, inputs, budget_s=seconds)
        found[key] = {"dense_ms": times.before.median_ms, "separable_ms": times.after.median_ms}
    found["weights"] = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    found["macs"] = [cs.analyze(layer, tuple(x.shape)).total.macs.all for layer in layers]
    say(f"{claim.name} at {size}: {times_saved(found, 'optimized'):.1f} times faster")
    return found


def times_saved(row: dict[str, Any], key: str) -> float:
    """How many times faster the separable layer is."""
    return row[key]["dense_ms"] / row[key]["separable_ms"]


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    (dense, separable), (weights, fewer) = row["macs"], row["weights"]
    return [
        f"{row['claim']}, {row['size']} x {row['size']}",
        f"{weights:,} to {fewer:,}",
        f"{dense:,} to {separable:,}",
        f"{dense / separable:.1f}",
        *(
            f"{times_saved(row, key):.1f} ({row[key]['dense_ms']:.3f} to "
            f"{row[key]['separable_ms']:.3f} ms)"
            for key in ("eager", "optimized")
        ),
    ]


def main() -> None:
    """Measure and write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    seconds = 0.1 if given.quick else 3.0
    rows = [
        measured(claim, size, seconds)
        for claim in CLAIMS
        for size in claim.sizes[: 1 if given.quick else None]
    ]
    ratios = [[r["macs"][0] / r["macs"][1] for r in rows]]
    ratios += [[times_saved(row, key) for row in rows] for key in ("eager", "optimized")]
    titles = ("times fewer multiplications", "times faster, eager", "times faster, optimized")
    record(
        "savings",
        given,
        title="What separation saves, as time",
        words="Depthwise separable layers beside the dense ones they replace, one image, timed "
        "turn by turn. Where less time is saved than multiplications, moving the pixels "
        "and calling the layer are what is left.",
        columns=["layer", "weights", "multiplications", "fewer", "faster, eager", "optimized"],
        rows=[cells(row) for row in rows],
        data=rows,
        picture=bars(
            [f"{row['claim']}, {row['size']} x {row['size']}" for row in rows],
            [
                Panel(title=title, spans=[(ratio,) * 3 for ratio in column], digits=1)
                for title, column in zip(titles, ratios, strict=True)
            ],
        ),
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Windows on a refined map: taps lie as many steps further apart as the map is finer.

A layer with stride s, dilation d and padding p reads a map that is f times finer and gives one that
is g times finer:

    y[j] = sum_r w[r] x[s j + d r - p]   ->   y'[m] = sum_r w[r] x'[t m + f d r - f p],  t = s f / g

so that y'[g j] = y[j] where x'[f i] = x[i]. A map of M positions becomes one of M' with
f (M - 1) < M' <= f M: the old positions are all there, and what lay behind the old map's end still
lies behind the new one's. A window that `ceil_mode` lets reach over the padding's end gets room for
it there.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from convsmith.capture import arguments
from convsmith.rewrite.surgery import CONVOLUTIONS, sizes

if TYPE_CHECKING:
    from convsmith.rewrite.rules.densify.walk import Walk

aten = torch.ops.aten

END = sys.maxsize  # how a slice says "to the end"
MAX_POOLS: dict[Any, int] = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool3d.default: 3,
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d_with_indices.default: 3,
}
PADS = {aten.pad.default, aten.constant_pad_nd.default}


@dataclass(frozen=True)
class Refined:
    """A window's integers on the refined map, per axis; `room` is what `ceil_mode` needs."""

    stride: list[int]
    dilation: list[int]
    before: list[int]
    after: list[int]
    room: list[int]

    def pads(self, *, with_room: bool = True) -> list[int]:
        """As torch's `pad` takes them: the last axis first."""
        ends = [a + (r if with_room else 0) for a, r in zip(self.after, self.room, strict=True)]
        pairs = zip(reversed(self.before), reversed(ends), strict=True)
        return [n for pair in pairs for n in pair]


def refined(walk: "Walk", node: Node, source: Node, padding: Sequence[tuple[int, int]]) -> Refined:
    """The window of a convolution or a pooling, from the map it reads to the map it gives."""
    named, rank = arguments(node), len(padding)
    kernel = kernel_of(node, rank)
    stride, dilation = (per_axis(named.get(name) or 1, rank) for name in ("stride", "dilation"))
    if "kernel_size" in named and not named["stride"]:
        stride = kernel  # pooling windows lie side by side
    f, g = walk.finer(source)[-rank:], walk.finer(node)[-rank:]
    rows = list(zip(kernel, stride, dilation, padding, f, strict=True))
    ceil = bool(named.get("ceil_mode"))
    return Refined(
        stride=[s * i // o for s, i, o in zip(stride, f, g, strict=True)],
        dilation=[d * i for d, i in zip(dilation, f, strict=True)],
        before=[p * i for (p, _), i in zip(padding, f, strict=True)],
        after=[q * i for (_, q), i in zip(padding, f, strict=True)],
        # A window may start inside the map or the padding before it, not behind: torch's own rule.
        room=[i * min(s - 1, d * (k - 1) - p) * ceil for k, s, d, (p, _), i in rows],
    )


def convolution(walk: "Walk", node: Node) -> None:
    named, rank = arguments(node), CONVOLUTIONS[node.target]
    padding = named["padding"]
    if isinstance(padding, str):
        spans = [
            d * (k - 1) * (padding == "same")
            for k, d in zip(kernel_of(node, rank), per_axis(named["dilation"], rank), strict=True)
        ]
        pairs = [(span // 2, span - span // 2) for span in spans]
    else:
        pairs = [(p, p) for p in per_axis(padding, rank)]
    window = refined(walk, node, named["input"], pairs)
    native = list(window.before)
    if window.before != window.after:
        named["input"] = walk.pad(named["input"], window.pads(), 0.0, at=node)
        native = [0] * rank
    named |= {"stride": window.stride, "padding": native, "dilation": window.dilation}
    node.target = next(
        t for t, r in CONVOLUTIONS.items() if r == rank and t._overloadname == "default"
    )
    node.args = tuple(named.values())


def max_pool(walk: "Walk", node: Node) -> None:
    named, rank = arguments(node), MAX_POOLS[node.target]
    kernel = kernel_of(node, rank)
    pairs = [(p, p) for p in per_axis(named["padding"], rank)]
    window = refined(walk, node, named["self"], pairs)
    native = list(window.before)
    # torch's own padding may not exceed half the kernel, however far its taps lie apart.
    if any(window.room) or any(p > k // 2 for p, k in zip(native, kernel, strict=True)):
        named["self"] = walk.pad(named["self"], window.pads(), float("-inf"), at=node)
        native = [0] * rank
    named |= {"kernel_size": kernel, "stride": window.stride, "padding": native}
    named |= {"dilation": window.dilation, "ceil_mode": False}
    node.args = tuple(named.values())


def pad(walk: "Walk", node: Node) -> None:
    """Padding (or cropping, where negative) by constants."""
    named = arguments(node)
    if named.get("mode", "constant") != "constant":
        raise walk.refusal(node, f"repeats the map's edge (mode {named['mode']!r})")
    amounts, finer = named["pad"], walk.finer(node)
    named["pad"] = [n * finer[-1 - k // 2] for k, n in enumerate(amounts)]
    node.args = tuple(named.values())


def subsample(walk: "Walk", node: Node) -> None:
    """x[start::s] along an axis of positions."""
    named = arguments(node)
    source, axis = named["self"], named["dim"]
    start, end = named["start"] or 0, named["end"]
    open_end = end is None or (isinstance(end, int) and end == END)
    if not open_end or not isinstance(start, int) or start < 0:
        raise walk.refusal(node, f"takes positions {start} to {end}, counted on the old grid")
    f, g = walk.finer(source)[axis], walk.finer(node)[axis]
    named |= {"start": start * f, "step": named["step"] * f // g}
    node.args = tuple(named.values())


def kernel_of(node: Node, rank: int) -> list[int]:
    named = arguments(node)
    if "weight" in named:
        return list(sizes(named["weight"])[2:])
    return per_axis(named["kernel_size"], rank)


def per_axis(value: Any, rank: int) -> list[int]:
    listed = [value] if isinstance(value, int) else list(value)
    return listed * rank if len(listed) == 1 else listed

# SPDX-License-Identifier: Apache-2.0
"""The window that a node slides over its input, as integers: convolutions, pooling, patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from convsmith.analysis.operators import (
    CONVOLUTIONS,
    GENERAL,
    TRANSPOSED,
    named,
    plain_name,
    size_hint,
    sizes,
)
from convsmith.geometry import Axis, Geometry, Pairs, TransposedAxis, TransposedGeometry, per_axis

_POOLS = ("max_pool", "avg_pool", "lp_pool", "fractional_max_pool")


@dataclass(frozen=True)
class Convolution:
    """A convolution's integers and the input they apply to: zeros padded before are part of it."""

    geometry: Geometry
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """One axis for each of the last axes of an input, and the sizes of these."""

    axes: tuple[Axis | TransposedAxis, ...]
    sizes: tuple[int, ...]


def convolution_at(node: Node) -> Convolution | None:
    """Return the integers of a convolution of any kind; None for another node."""
    if not any(node.target in table for table in (CONVOLUTIONS, TRANSPOSED, GENERAL)):
        return None
    given = named(node)
    weight = sizes(given["weight"])
    axes = len(weight) - 2
    shape = sizes(given["input"])
    is_transposed = node.target in TRANSPOSED or bool(given.get("transposed"))
    groups = given["groups"]
    padding: Any = given["padding"]
    options: dict[str, Any] = {
        "kernel_size": weight[2:],
        "stride": per_axis("stride", given["stride"], axes),
        "dilation": per_axis("dilation", given["dilation"], axes),
        "groups": groups,
    }
    if is_transposed:
        pairs: Any = tuple((p, p) for p in per_axis("padding", padding, axes, least=0))
        added = per_axis("output_padding", given["output_padding"], axes, least=0)
        geometry: Geometry = TransposedGeometry(
            in_channels=weight[0],
            out_channels=weight[1] * groups,
            padding=pairs,
            output_padding=added,
            **options,
        )
        return Convolution(geometry, shape)
    if isinstance(padding, str):
        totals = [d * (k - 1) for k, d in zip(weight[2:], options["dilation"], strict=True)]
        is_same = padding == "same"
        pairs = tuple((t // 2, t - t // 2) if is_same else (0, 0) for t in totals)
    else:
        pairs = tuple((p, p) for p in per_axis("padding", padding, axes, least=0))
    earlier = _zeros_before(given["input"], axes)
    if earlier is not None:
        shape = sizes(given["input"].all_input_nodes[0])
        pairs = tuple((a + c, b + d) for (a, b), (c, d) in zip(pairs, earlier, strict=True))
    geometry = Geometry(
        in_channels=weight[1] * groups, out_channels=weight[0], padding=pairs, **options
    )
    return Convolution(geometry, shape)


def _zeros_before(node: Any, axes: int) -> Pairs | None:
    """The zeros that a node of its own puts around the spatial axes; None if it does not."""
    if not isinstance(node, Node) or plain_name(node) not in ("pad", "constant_pad_nd"):
        return None
    given = named(node)
    amounts = [_number(amount) for amount in given["pad"]]
    if given.get("mode", "constant") != "constant" or given.get("value"):
        return None
    if len(amounts) > 2 * axes or min(amounts, default=0) < 0:
        return None
    pairs = [(a, b) for a, b in zip(amounts[::2], amounts[1::2], strict=True)]
    return tuple([(0, 0)] * (axes - len(pairs)) + pairs[::-1])


def _number(amount: Any) -> int:
    """An amount as it was in the example, though the graph may compute it from a free size."""
    return size_hint(amount.meta["val"] if isinstance(amount, Node) else amount)


def window_at(node: Node) -> Windows | None:
    """Return the windows of a convolution, pooling, unfolding or one of the library's operators."""
    if node.op != "call_function":
        return None
    name, given = plain_name(node), named(node)
    found = convolution_at(node)
    if found is not None:
        # Its own padding only: what another node pads is that node's.
        spatial = sizes(given["input"])[-found.geometry.spatial_axes :]
        axes = found.geometry.axes(spatial)
        if found.input_shape != sizes(given["input"]):
            earlier = _zeros_before(given["input"], found.geometry.spatial_axes) or ()
            axes = tuple(
                Axis(x.kernel, x.stride, x.before - a, x.after - b, x.dilation)
                for x, (a, b) in zip(axes, earlier, strict=True)
            )
        return Windows(tuple(axes), spatial)
    if "kernel_size" not in given or not (
        name.startswith(_POOLS) or name == "im2col" or _is_own(node)
    ):
        return None
    return _plain_window(node, given)


def _is_own(node: Node) -> bool:
    return getattr(node.target, "namespace", None) == "convsmith"


def _plain_window(node: Node, given: dict[str, Any]) -> Windows:
    name = plain_name(node)
    count = next((n for n in (1, 2, 3) if f"{n}d" in name), 2)
    kernel = per_axis("kernel_size", list(given["kernel_size"]), count)
    stride = per_axis("stride", list(given.get("stride") or kernel), count)
    dilation = per_axis("dilation", list(given.get("dilation") or [1]), count)
    # 'same' padding of a size that the graph leaves free is a node: as it was in the example.
    padding = [_as_in_the_example(value) for value in given.get("padding") or [0]]
    pairs = _pairs(padding, count)
    spatial = sizes(node.all_input_nodes[0])[-count:]
    axes = tuple(
        Axis(k, s, before, after, d)
        for k, s, d, (before, after) in zip(kernel, stride, dilation, pairs, strict=True)
    )
    return Windows(axes, spatial)


def _as_in_the_example(value: int | Node) -> int:
    return size_hint(value.meta["val"]) if isinstance(value, Node) else value


def _pairs(padding: Sequence[int], axes: int) -> list[tuple[int, int]]:
    """One number for all, one an axis, or (before, after) for each axis in a row."""
    if len(padding) > axes:
        return list(zip(padding[::2], padding[1::2], strict=True))
    return [(p, p) for p in per_axis("padding", list(padding), axes, least=0)]

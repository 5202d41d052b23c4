# SPDX-License-Identifier: Apache-2.0
"""Gridding in a graph: which convolutions see a pattern with holes, since which layer, and what
would close it.
"""

from collections.abc import Callable, Mapping

from torch.fx import Node

from convsmith.analysis.cones import along
from convsmith.analysis.operators import sizes
from convsmith.analysis.reach import Reach
from convsmith.analysis.result import AxisCone, Gridding, LayerCone
from convsmith.analysis.spreading.step import Answer
from convsmith.analysis.windows import convolution_at, window_at
from convsmith.geometry import Axis, closing_dilations, hybrid_dilation

_MOST_LISTED = 1024  # positions


def gridding_of(
    node: Node,
    cones: Mapping[Node, LayerCone],
    reaches: Mapping[Node, Answer],
    name_of: Callable[[Node], str],
) -> tuple[Gridding, ...]:
    """The holes in a convolution's cone, axis by axis."""
    reach = reaches.get(node)
    if convolution_at(node) is None or node not in cones or not isinstance(reach, Reach):
        return ()
    found = []
    for axis in cones[node].axes:
        if axis.touched < axis.size:
            chain = _chain(node, cones, axis.axis)
            found.append(_axis(axis, chain, reach, cones, name_of))
    return tuple(found)


def _axis(
    cone: AxisCone,
    chain: list[Node],
    reach: Reach,
    cones: Mapping[Node, LayerCone],
    name_of: Callable[[Node], str],
) -> Gridding:
    strand = reach.seen[cone.axis].strands[0]
    reads = max(along(strand, reach).reads, key=lambda r: int(r.touched.sum()))
    places = reads.positions() - reads.first
    share = reads.paths[places] / reads.paths.sum()
    axes = [_window(node, cone.axis) for node in chain]
    dilated = [axis for axis in axes if axis is not None and axis.kernel > 1]
    dilations = tuple(axis.dilation for axis in dilated)
    kernels = {axis.kernel for axis in dilated}
    rule = hybrid_dilation(min(kernels), dilations) if len(kernels) == 1 else None
    before = _before(chain[0], cones, cone.axis)
    is_plain = dilated and all(axis.stride == 1 for axis in dilated)
    return Gridding(
        axis=cone.axis,
        size=cone.size,
        touched=tuple(places.tolist()[:_MOST_LISTED]),
        paths=tuple(round(float(p), 6) for p in share[:_MOST_LISTED]),
        caused_by=name_of(chain[0]),
        dilations=dilations,
        max_distance=rule.max_distances[min(1, len(dilations) - 1)] if rule else None,
        passes_rule=rule.passes if rule else None,
        closing=closing_dilations(
            [axis.kernel for axis in dilated], sum(dilations), width=before[0], stride=before[1]
        )
        if is_plain
        else None,
    )


def _chain(node: Node, cones: Mapping[Node, LayerCone], axis: int) -> list[Node]:
    """The convolutions from the one whose input has no holes to this one."""
    chain = [node]
    while True:
        holed = [n for n in node.all_input_nodes if _has_holes(cones.get(n), axis)]
        if not holed:
            return chain
        node = holed[0]
        if convolution_at(node) is not None:
            chain.insert(0, node)


def _has_holes(cone: LayerCone | None, axis: int) -> bool:
    return cone is not None and any(a.axis == axis and a.touched < a.size for a in cone.axes)


def _window(node: Node, axis: int) -> Axis | None:
    """The window along an axis of the input, counted from the front as maps are."""
    found = window_at(node)
    if found is None:
        return None
    place = axis - (len(sizes(node.all_input_nodes[0])) - len(found.axes))
    if not 0 <= place < len(found.axes):
        return None
    window = found.axes[place]
    return window if isinstance(window, Axis) else None


def _before(node: Node, cones: Mapping[Node, LayerCone], axis: int) -> tuple[int, int]:
    """What one input of a layer covers, and the step from one to the next; whole inputs only."""
    for source in node.all_input_nodes:
        for cone in cones[source].axes if source in cones else ():
            if cone.axis == axis and cone.stride.denominator == 1 and cone.stride > 0:
                return cone.size, int(cone.stride)
    return 1, 1

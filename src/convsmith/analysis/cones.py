# SPDX-License-Identifier: Apache-2.0
"""The cone of every node of a graph: what one element of its result depends on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from torch import Tensor, fx
from torch.fx import Node

from convsmith.analysis.footprint import Footprint
from convsmith.analysis.operators import kind_of, plain_name, sizes
from convsmith.analysis.reach import Digits, Reach
from convsmith.analysis.result import AxisCone, LayerCone
from convsmith.analysis.spreading import RULES, Step
from convsmith.analysis.spreading.step import Answer
from convsmith.analysis.spreading.windowing import own_window
from convsmith.analysis.strands import Irregular, Strand
from convsmith.analysis.windows import Windows, window_at
from convsmith.errors import ConvsmithError, ShapeError

# What a rule says of an operator that is used as nobody thought of.
_UNKNOWN = (ConvsmithError, KeyError, ValueError, IndexError, AssertionError)

Way = tuple[Footprint, int, tuple[int, ...]]  # what a strand is made of


def reaches(graph: fx.Graph, source: Node, name_of: Callable[[Node], str]) -> dict[Node, Answer]:
    """What every node depends on of one placeholder: along its axes after batch and channels."""
    found: dict[Node, Answer] = {source: Reach.of_input(sizes(source), _places(graph, source))}
    for node in graph.nodes:
        if node.op == "call_function" and any(found.get(n) for n in node.all_input_nodes):
            found[node] = spread(Step(node, found, name_of(node)))
    return found


def _places(graph: fx.Graph, source: Node) -> range:
    """The axes of an input after batch and channels; after channels where windows slide over all
    but one axis of a tensor of its rank: torch takes such an input for one without a batch.
    """
    rank = len(sizes(source))
    windows = (_window(node) for node in graph.nodes if _rank_read(node) == rank)
    first = next(filter(None, windows), None)
    return range(1 if first is not None and len(first.axes) == rank - 1 else 2, rank)


def _window(node: Node) -> Windows | None:
    with suppress(*_UNKNOWN):
        return window_at(node)
    return None


def _rank_read(node: Node) -> int | None:
    """The rank of the first tensor that an operator reads."""
    read = node.all_input_nodes if node.op == "call_function" else []
    value = read[0].meta.get("val") if read else None
    return value.dim() if isinstance(value, Tensor) else None


def spread(step: Step) -> Answer:
    """What one node depends on, by what its inputs do."""
    if plain_name(step.node) == "getitem":
        values, index = step.node.args
        of_all = step.reaches.get(values)  # type: ignore[arg-type]
        if isinstance(of_all, list) and isinstance(index, int) and index < len(of_all):
            return of_all[index]
        return of_all
    try:
        rule = RULES.get(step.name)
        if getattr(step.node.target, "namespace", "") == "convsmith":
            return own_window(step)
        if rule is not None:
            return rule(step)
        if kind_of(step.node) == "elementwise":
            return step.union([step.of(n) for n in step.node.all_input_nodes])
        raise Irregular(f"{step.name} is not known to work place by place")
    except Irregular as reason:
        return _everywhere(step, str(reason))
    except ShapeError as error:
        return _everywhere(step, f"what {step.name} reads is too much to be listed ({error})")
    except _UNKNOWN as error:
        return _everywhere(step, f"{step.name} is used in a way that is not known ({error})")


def _everywhere(step: Step, why: str) -> Answer:
    """From here on all places, by what is known."""
    by = step.whole(why)
    flat = {
        axis: seen
        for node in step.node.all_input_nodes
        for reach in [step.reaches.get(node)]
        for one in (reach if isinstance(reach, list) else [reach])
        if one is not None
        for axis, seen in one.seen.items()
    }
    answers: list[Reach | None] = [
        Reach(
            tuple((size,) for size in shape),
            {
                axis: replace(seen, strands=(), whole=seen.whole or by)
                for axis, seen in flat.items()
            },
        )
        for shape in step.shapes
    ]
    return answers if len(answers) > 1 else next(iter(answers), None)


def cone_of(reach: Answer, source: str, sizes_in: Sequence[int]) -> LayerCone | None:
    """The cone that a reach amounts to; None if it does not depend on the input."""
    one = next((r for r in reach if r), None) if isinstance(reach, list) else reach
    if one is None:
        return None
    one = one.apart()
    axes = []
    for axis, seen in sorted(one.seen.items()):
        if seen.strands:
            ways = tuple((s.footprint, s.const, s.coefs) for s in seen.strands)
            axes.append(_axis_cone(axis, sizes_in[axis], ways, one.digits))
    whole = next((seen.whole for seen in one.seen.values() if seen.whole), None)
    return LayerCone(input=source, axes=tuple(axes), whole_map_by=whole)


# A layer that works place by place hands the very footprints on that it was given.
@lru_cache(maxsize=32)
def _axis_cone(axis: int, size: int, ways: tuple[Way, ...], digits: Digits) -> AxisCone:
    strands = [Strand(*way) for way in ways]
    reach = Reach(digits, {})
    footprints = [along(strand, reach) for strand in strands]
    outputs = max(_length(strand, reach) for strand in strands)
    middle = (outputs - 1) // 2
    best = max(footprints, key=lambda f: f.cone().size)
    cone = best.cone()
    read = np.unique(np.concatenate([f.at(middle).positions() for f in footprints]))
    hull = int(read[-1] - read[0]) + 1 if len(read) else 0
    touched = max((int(reads.touched.sum()) for reads in best.reads), default=0)
    moves = any(any(strand.coefs) for strand in strands)
    return AxisCone(
        axis=axis,
        size=max(cone.size, hull),
        stride=cone.stride if moves else Fraction(0),
        a=cone.a,
        b=cone.b,
        touched=max(touched, len(read)),
        outside=float(np.mean((read < 0) | (read >= size))) if len(read) else 0.0,
    )


def along(strand: Strand, reach: Reach) -> Footprint:
    """A strand's footprint along the one axis of the output that it moves on; where it moves on
    several, the windows of all but the outermost digit are taken together.
    """
    moving = [
        axis for axis in range(reach.rank) if any(strand.coefs[p] for p in reach.places(axis))
    ]
    if len(moving) == 1:
        with suppress(Irregular):
            strand = strand.on_one_digit(reach.places(moving[0]), reach.digits[moving[0]])
    grid = strand.on_grid()
    if grid is not None:
        return grid
    footprint = strand.footprint
    flat = [size for row in reach.digits for size in row]
    digits = [(coef, size) for coef, size in zip(strand.coefs, flat, strict=True) if coef]
    digits.sort(key=lambda pair: -abs(pair[0]))
    for coef, size in digits[1:]:
        footprint = footprint.repeated(coef, size)
    return footprint.gather(abs(digits[0][0]), [[strand.const]])


def _length(strand: Strand, reach: Reach) -> int:
    moving = [
        axis for axis in range(reach.rank) if any(strand.coefs[p] for p in reach.places(axis))
    ]
    return max((reach.shape[axis] for axis in moving), default=1)


def cones(
    graph: fx.Graph, name_of: Callable[[Node], str]
) -> tuple[dict[Node, LayerCone], Mapping[str, dict[Node, Answer]]]:
    """The cone of every node in the first input that it depends on; and all reaches, by input."""
    found: dict[Node, LayerCone] = {}
    every: dict[str, dict[Node, Answer]] = {}
    for source in graph.nodes:
        value = source.meta.get("val") if source.op == "placeholder" else None
        if not isinstance(value, Tensor) or not _places(graph, source):
            continue
        if not (value.is_floating_point() or value.is_complex()):
            continue
        every[source.name] = reaches(graph, source, name_of)
        for node, reach in every[source.name].items():
            cone = cone_of(reach, source.name, sizes(source))
            if cone is not None:
                found.setdefault(node, cone)
    return found, every

# SPDX-License-Identifier: Apache-2.0
"""Operators that only move elements: views, slices, joins, padding."""

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from convsmith.analysis.operators import sizes
from convsmith.analysis.reach import Reach
from convsmith.analysis.spreading.step import Answer, Rule, Step
from convsmith.analysis.strands import Irregular


def _same(step: Step) -> Answer:
    return step.first()


def _reshape(step: Step) -> Answer:
    return step.first().reshaped(step.shape)


def _permute(step: Step) -> Answer:
    found = step.first()
    order = [found.axis(axis) for axis in _ints(step.given["dims"])]
    return found.permuted(order).merged()


def _swap(step: Step) -> Answer:
    found = step.first()
    dims = [v for k, v in step.given.items() if k in ("dim0", "dim1", "axis0", "axis1")] or [-2, -1]
    if found.rank < 2:
        return found
    order = list(range(found.rank))
    a, b = found.axis(dims[0]), found.axis(dims[1])
    order[a], order[b] = order[b], order[a]
    return found.permuted(order)


def _movedim(step: Step) -> Answer:
    found = step.first()
    sources = [found.axis(a) for a in _ints(step.given["source"])]
    targets = [found.axis(a) for a in _ints(step.given["destination"])]
    order = [a for a in range(found.rank) if a not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return found.permuted(order)


def _unsqueeze(step: Step) -> Answer:
    found, axis = step.first(), step.given["dim"]
    return found.with_axis(axis % (found.rank + 1), 1)


def _squeeze(step: Step) -> Answer:
    found = step.first()
    dims = step.given.get("dim")
    axes = range(found.rank) if dims is None else [found.axis(a) for a in _ints(dims)]
    for axis in sorted(axes, reverse=True):
        if found.shape[axis] == 1:
            found = found.without_axis(axis)
    return found


def _expand(step: Step) -> Answer:
    return step.first().broadcast(step.shape)


def _repeat(step: Step) -> Answer:
    found = step.first()
    found = found.broadcast((*(1,) * (len(step.shape) - found.rank), *found.shape))
    for axis, size in enumerate(step.shape):
        if found.shape[axis] != size:
            if found.matters(axis):
                raise Irregular("repeats the map side by side")
            found = found.resized(axis, size)
    return found


def _repeat_interleave(step: Step) -> Answer:
    found, axis, times = step.first(), step.given.get("dim"), step.given.get("repeats")
    if axis is None or not isinstance(times, int):
        raise Irregular("repeats single elements")
    axis = found.axis(axis)
    return found.gathered(axis, 1, [[0]] * times, step.shape[axis])


def _slice(step: Step) -> Answer:
    found = step.first()
    axis = found.axis(step.given["dim"])
    size = found.shape[axis]
    start = step.given["start"] or 0
    start = min(max(start + size if start < 0 else start, 0), size)
    return found.sliced(axis, start, step.given["step"] or 1, step.shape[axis])


def _narrow(step: Step) -> Answer:
    found, start = step.first(), step.given["start"]
    axis = found.axis(step.given["dim"])
    return found.sliced(axis, start % max(found.shape[axis], 1), 1, step.shape[axis])


def _select(step: Step) -> Answer:
    return step.first().selected(step.given["dim"], step.given["index"])


def _pieces(step: Step) -> Answer:
    """split, chunk, tensor_split: neighbours along an axis."""
    found = step.first()
    axis = found.axis(step.given.get("dim", 0))
    parts: list[Reach | None] = []
    start = 0
    for shape in step.shapes:
        parts.append(found.sliced(axis, start, 1, shape[axis]))
        start += shape[axis]
    return parts


def _unbind(step: Step) -> Answer:
    found = step.first()
    axis = found.axis(step.given.get("dim", 0))
    return [found.selected(axis, index) for index in range(found.shape[axis])]


def _cat(step: Step) -> Answer:
    nodes = [n for n in step.given["tensors"] if sizes(n) != (0,)]
    parts = [step.of(n) for n in nodes]
    axis = step.given["dim"] % len(step.shape)
    moving = [r for r in parts if r is not None]
    if not any(r.matters(axis) for r in moving):
        return step.union([r and r.resized(axis, step.shape[axis]) for r in parts])
    if len(moving) > 1:
        raise Irregular("puts maps side by side")
    before = sum(sizes(n)[axis] for n in nodes[: parts.index(moving[0])])
    return moving[0].sliced(axis, -before, 1, step.shape[axis])


def _stack(step: Step) -> Answer:
    axis = step.given["dim"] % len(step.shape)
    parts = [step.of(n) for n in step.given["tensors"]]
    return step.union([r and r.with_axis(axis, 1) for r in parts])


def _pad(step: Step) -> Answer:
    found = step.first()
    amounts = step.given.get("pad") or step.given["padding"]
    for k in range(len(amounts) // 2):
        axis = found.rank - 1 - k
        if any(amounts[2 * k : 2 * k + 2]):
            found = found.sliced(axis, -amounts[2 * k], 1, step.shape[axis])
    return found


def _roll(step: Step) -> Answer:
    """Rolled places are neighbours beyond the edge; away from the edge all is only shifted."""
    found = step.first()
    for shift, axis in zip(_ints(step.given["shifts"]), _ints(step.given["dims"]), strict=False):
        place = found.axis(axis)
        found = found.sliced(place, -shift, 1, found.shape[place])
    return found


def _flip(step: Step) -> Answer:
    if any(step.first().matters(axis) for axis in _ints(step.given["dims"])):
        raise Irregular("turns the map round")
    return step.first()


def _sliding(step: Step) -> Answer:
    """Tensor.unfold: windows of `size`, `step` apart, along a new last axis."""
    found = step.first()
    axis = found.axis(step.given["dimension"])
    if not found.matters(axis):
        return found.resized(axis, step.shape[axis]).with_axis(found.rank, step.shape[-1])
    found, place = found.single(axis)
    inner = found.with_axis(found.rank, step.shape[-1])
    last = len(inner.strands()[0].coefs) - 1
    return inner.mapped(
        (*found.digits[:axis], (step.shape[axis],), *found.digits[axis + 1 :], (step.shape[-1],)),
        lambda s: type(s)(
            s.footprint,
            s.const,
            tuple(
                s.coefs[place] * (step.given["step"] if p == place else 1)
                if p in (place, last)
                else coef
                for p, coef in enumerate(s.coefs)
            ),
        ),
    )


def _shuffle_channels(step: Step) -> Answer:
    found = step.first()
    if found.matters(1):
        raise Irregular("shuffles an axis that holds places")
    return found


def _to_space(step: Step) -> Answer:
    """pixel_shuffle: channels r r become places."""
    r = step.given["upscale_factor"]
    *outer, c, h, w = step.first().shape
    front = list(range(len(outer)))
    apart = step.first().reshaped((*outer, c // r**2, r, r, h, w))
    k = len(outer)
    return apart.permuted([*front, k, k + 3, k + 1, k + 4, k + 2]).reshaped(step.shape)


def _to_depth(step: Step) -> Answer:
    """pixel_unshuffle: places become channels."""
    r = step.given["downscale_factor"]
    *outer, c, h, w = step.first().shape
    front = list(range(len(outer)))
    apart = step.first().reshaped((*outer, c, h // r, r, w // r, r))
    k = len(outer)
    return apart.permuted([*front, k, k + 2, k + 4, k + 1, k + 3]).reshaped(step.shape)


def _picked(step: Step) -> Answer:
    """Indices along one axis."""
    found, axis = step.first(), step.given.get("dim")
    if axis is None or found.rank != len(step.shape) or found.matters(axis):
        raise Irregular("picks places by index")
    return found.resized(found.axis(axis), step.shape[found.axis(axis)])


def _indexed(step: Step) -> Answer:
    """x[:, index]: one axis that holds no places, picked by a stored or computed list."""
    found = step.arg("self")
    indices = step.given["indices"]
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if found is None or len(axes) != 1 or any(step.of(index) for index in indices):
        raise Irregular("picks places by index")
    (axis,) = axes
    if found.matters(axis):
        raise Irregular("picks places by index")
    found = found.without_axis(axis)
    for place, size in enumerate(sizes(indices[axis]), axis):
        found = found.with_axis(place, size)
    return found


def _written(step: Step) -> Answer:
    """Memory written through a view: what stood there, or what was written."""
    old, new = step.node.args
    mine, theirs = step.of(old), step.of(new)
    if theirs is None:
        return mine
    shape = sizes(old) if isinstance(old, Node) else ()
    if mine is None or len(shape) != theirs.rank:
        raise Irregular("is written place by place")
    for axis, size in enumerate(shape):
        if theirs.shape[axis] != size:
            if theirs.matters(axis) or mine.matters(axis):
                raise Irregular("is written place by place")
            theirs = theirs.resized(axis, size)
    return step.union([mine, theirs], shape)


def _copied(step: Step) -> Answer:
    source = step.arg("src")
    return source and source.broadcast(step.shape)


def _nothing(step: Step) -> Answer:
    return None


def _ints(value: Any) -> Sequence[int]:
    return [value] if isinstance(value, int) else list(value)


VIEWS: dict[str, Rule] = {
    **dict.fromkeys(
        ("contiguous", "clone", "detach", "alias", "to", "type_as", "_to_copy", "dropout"), _same
    ),
    **dict.fromkeys(("feature_dropout", "alpha_dropout", "feature_alpha_dropout", "cpu"), _same),
    **dict.fromkeys(("lift_fresh", "resolve_conj", "resolve_neg", "real", "cuda"), _same),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "_unsafe_view"), _reshape),
    **dict.fromkeys(("view_as", "reshape_as", "_reshape_alias"), _reshape),
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "mT", "numpy_T"), _swap),
    **dict.fromkeys(("movedim", "moveaxis"), _movedim),
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expand),
    **dict.fromkeys(("repeat", "tile"), _repeat),
    "repeat_interleave": _repeat_interleave,
    "slice": _slice,
    "narrow": _narrow,
    "select": _select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unsafe_chunk"), _pieces),
    **dict.fromkeys(("tensor_split", "unsafe_split"), _pieces),
    "unbind": _unbind,
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    **dict.fromkeys(
        (
            "pad",
            "constant_pad_nd",
            *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
        ),
        _pad,
    ),
    "roll": _roll,
    **dict.fromkeys(("flip", "fliplr", "flipud", "rot90"), _flip),
    "unfold": _sliding,
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _shuffle_channels),
    "pixel_shuffle": _to_space,
    "pixel_unshuffle": _to_depth,
    **dict.fromkeys(("index_select", "gather"), _picked),
    "index": _indexed,
    "written": _written,
    "copy": _copied,
    **dict.fromkeys(("item", "zero", "fill", "_shape_as_tensor", "is_floating_point"), _nothing),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like", "rand_like"), _nothing),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty", "randn_like"), _nothing),
    **dict.fromkeys(("bernoulli", "_local_scalar_dense"), _nothing),
}

# SPDX-License-Identifier: Apache-2.0
"""Operators that slide: convolutions, pooling, patches, resizing."""

from fractions import Fraction
from math import floor, gcd, prod

from convsmith.analysis.reach import Reach
from convsmith.analysis.spreading.step import Answer, Rule, Step
from convsmith.analysis.strands import Irregular
from convsmith.analysis.windows import Windows, window_at
from convsmith.geometry import Axis, TransposedAxis


def _window(step: Step) -> Windows:
    found = window_at(step.node)
    if found is None:
        raise Irregular("slides over places in a way that is not known")
    return found


def _slide(reach: Reach, windows: Windows, shape: tuple[int, ...]) -> Reach:
    """The last axes of `reach`, each through its window."""
    first = reach.rank - len(windows.axes)
    for number, axis in enumerate(windows.axes):
        place = first + number
        length = shape[len(shape) - len(windows.axes) + number]
        if isinstance(axis, TransposedAxis):
            taps = [list(axis.reads(j)) for j in range(axis.stride)]
            reach = reach.gathered(place, 1, taps, length)
        else:
            reach = reach.windowed(place, list(axis.reads(0)), axis.stride, length)
    return reach


def _convolution(step: Step) -> Answer:
    windows, result = _window(step), None
    image = step.arg("input")
    count = len(windows.axes)
    if image is not None:
        mixed = image.reduced([-count - 1], step.whole("mixes an axis of places as channels"))
        slid = _slide(mixed, windows, step.shape)
        result = slid.broadcast(step.shape)
    weight = step.arg("weight")  # a kernel made from the input
    if weight is not None:
        by = step.whole("its kernel is computed from the input")
        scalar = weight.reduced(range(weight.rank), by).reshaped((1,))
        result = step.union([result, scalar])  # type: ignore[assignment]
    return result


def _pool(step: Step) -> Answer:
    windows, found = _window(step), step.first()
    count = len(windows.axes)
    axes = list(zip(range(found.rank - count, found.rank), windows.axes, strict=True))
    kernels = [(axis.kernel, n) for axis, n in zip(windows.axes, windows.sizes, strict=True)]
    if all(k >= n for k, n in kernels) and prod(n for _, n in kernels) > 1:
        pooled: Answer = found.reduced([a for a, _ in axes], step.whole("pools the whole map"))
    else:
        pooled = _slide(found, windows, step.shape)
    return [pooled] * len(step.shapes) if len(step.shapes) > 1 else pooled  # type: ignore[list-item]


def _adaptive(step: Step) -> Answer:
    found = step.first()
    count = next(n for n in (1, 2, 3) if f"{n}d" in step.name)
    for axis in range(found.rank - count, found.rank):
        size, wanted = found.shape[axis], step.shape[axis]
        if wanted == 1:
            found = found.reduced([axis], step.whole("pools the whole map"))
            continue
        period = wanted // gcd(size, wanted)
        taps = [
            list(range(j * size // wanted, -(-(j + 1) * size // wanted))) for j in range(period)
        ]
        found = found.gathered(axis, size // gcd(size, wanted), taps, wanted)
    return [found] * len(step.shapes) if len(step.shapes) > 1 else found


def _patches(step: Step) -> Answer:
    """im2col: (N, C, H, W) to (N, C kh kw, places)."""
    found, windows = step.first(), _window(step)
    image = step.size_of("self")
    outer = found.rank - 2
    counts = []
    for number, axis in enumerate(windows.axes):
        assert isinstance(axis, Axis)
        place = outer + 2 * number
        count = axis.output_size(image[outer + number])
        counts.append(count)
        found = _apart(found, place, axis, count)
    # (N, C, places h, taps h, places w, taps w) -> (N, C, taps h, taps w, places h, places w)
    order = [*range(outer), outer + 1, outer + 3, outer, outer + 2]
    return found.permuted(order).reshaped(step.shape)


def _apart(found: Reach, place: int, axis: Axis, count: int) -> Reach:
    """An axis as (places, taps): element (j, r) is element j stride + r dilation - before."""
    if not found.matters(place):
        return found.resized(place, count).with_axis(place + 1, axis.kernel)
    found, digit = found.single(place)
    doubled = found.with_axis(place + 1, axis.kernel)
    digits = (*found.digits[:place], (count,), (axis.kernel,), *found.digits[place + 1 :])
    return doubled.mapped(
        digits,
        lambda s: type(s)(
            s.footprint,
            s.const - s.coefs[digit] * axis.before,
            (
                *s.coefs[:digit],
                s.coefs[digit] * axis.stride,
                s.coefs[digit] * axis.dilation,
                *s.coefs[digit + 2 :],
            ),
        ),
    )


def _resize(step: Step) -> Answer:
    """Output j looks at (j + 1/2) in / out - 1/2, or at j in / out for the nearest."""
    found = step.first()
    spatial = len(step.shape) - 2
    reach = 2 if "cubic" in step.name else 1
    for axis in range(2, 2 + spatial):
        size, wanted = found.shape[axis], step.shape[axis]
        common = gcd(size, wanted)
        advance, period = size // common, wanted // common
        if "nearest" in step.name:
            half = "exact" in step.name
            taps = [[((2 * j + half) * size) // (2 * wanted)] for j in range(period)]
        elif step.given.get("align_corners"):
            if wanted == 1 or size == 1:
                taps, advance = [[0]], 1
            else:
                common = gcd(size - 1, wanted - 1)
                advance, period = (size - 1) // common, (wanted - 1) // common
                places = [divmod(j * (size - 1), wanted - 1) for j in range(period)]
                taps = [_around(whole, reach) for whole, _ in places]
        else:
            places = [divmod((2 * j + 1) * size - wanted, 2 * wanted) for j in range(period)]
            taps = [_around(whole, reach) for whole, _ in places]
        found = found.gathered(axis, advance, taps, wanted)
    return found


def _smoothed(step: Step) -> Answer:
    """Resizing with antialias: the filter is as wide as in / out says, at least as without.

    Output j reads from floor(c - w + 1/2) to floor(c + w + 1/2) - 1, where c = (j + 1/2) in / out
    and w is max(1, in / out), twice that for cubic.
    """
    found = step.first()
    if step.given.get("align_corners"):
        raise Irregular("resizes between corners with a filter whose width follows the sizes")
    reach = 2 if "cubic" in step.name else 1
    for axis in range(2, len(step.shape)):
        size, wanted = found.shape[axis], step.shape[axis]
        scale, common = Fraction(size, wanted), gcd(size, wanted)
        width = reach * max(scale, Fraction(1))
        middles = [(Fraction(1, 2) + j) * scale + Fraction(1, 2) for j in range(wanted // common)]
        taps = [list(range(floor(c - width), floor(c + width))) for c in middles]
        found = found.gathered(axis, size // common, taps, wanted)
    return found


def _folded(step: Step) -> Answer:
    """col2im: (N, C kh kw, places) to (N, C, H, W), where patches overlap they are added."""
    given, found = step.given, step.first()
    pairs = [given[name] for name in ("kernel_size", "stride", "padding", "dilation")]
    axes = [TransposedAxis(k, s, p, p, d) for k, s, p, d in zip(*pairs, strict=True)]
    sizes_out = step.shape[-2:]
    places = [
        (n + 2 * axis.before - axis.span) // axis.stride + 1
        for n, axis in zip(sizes_out, axes, strict=True)
    ]
    taps = [axis.kernel for axis in axes]
    channels = found.shape[1] // prod(taps)
    apart = found.reshaped((found.shape[0], channels, *taps, *places))
    if apart.matters(2) or apart.matters(3):
        raise Irregular("puts patches together that were cut before")
    image = apart.without_axis(2).without_axis(2)
    for place, (axis, length) in enumerate(zip(axes, sizes_out, strict=True), 2):
        image = image.gathered(place, 1, [list(axis.reads(j)) for j in range(axis.stride)], length)
    return image


def _around(whole: int, reach: int) -> list[int]:
    """The neighbours that a position is blended from, though one may have the weight zero."""
    return list(range(whole - reach + 1, whole + reach + 1))


def _unpool(step: Step) -> Answer:
    found = step.union([step.arg("self"), step.arg("indices")], step.size_of("self"))
    assert isinstance(found, Reach)
    for axis in range(2, found.rank):
        size, wanted = found.shape[axis], step.shape[axis]
        if wanted % size:
            raise Irregular("puts values at places that are computed")
        found = found.gathered(axis, 1, [[0]] * (wanted // size), wanted)
    return found


def _sampled(step: Step) -> Answer:
    raise Irregular("samples at places that are computed")


def own_window(step: Step) -> Answer:
    """The library's multiply-add whose kernels are an input: (N, groups, taps, places)."""
    image, kernels = step.arg("x"), step.arg("kernels")
    parts: list[Reach | None] = []
    if image is not None:
        parts.append(_slide(image, _window(step), step.shape))
    if kernels is not None:
        by = step.whole("mixes an axis of places as channels")
        parts.append(kernels.reduced([1, 2], by).without_axis(2))
    return step.union(parts)


_DIMENSIONS = ("1d", "2d", "3d")
WINDOWS: dict[str, Rule] = {
    **{f"conv{n}": _convolution for n in _DIMENSIONS},
    **{f"conv_transpose{n}": _convolution for n in _DIMENSIONS},
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **{f"{kind}_pool{n}": _pool for kind in ("max", "avg", "lp") for n in _DIMENSIONS},
    **{f"max_pool{n}_with_indices": _pool for n in _DIMENSIONS},
    **{f"adaptive_{kind}_pool{n}": _adaptive for kind in ("avg", "max") for n in _DIMENSIONS},
    "im2col": _patches,
    "col2im": _folded,
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), _smoothed),
    **{f"upsample_nearest{n}": _resize for n in _DIMENSIONS},
    **{f"_upsample_nearest_exact{n}": _resize for n in _DIMENSIONS},
    **dict.fromkeys(
        ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
        _resize,
    ),
    **{f"max_unpool{n}": _unpool for n in _DIMENSIONS},
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _sampled),
}

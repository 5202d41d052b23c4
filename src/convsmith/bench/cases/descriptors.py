# SPDX-License-Identifier: Apache-2.0
"""A sweep over shapes that other people thought worth measuring, read from descriptor files.

A line such as `g32mb1ic32ih112iw112oc32oh112ow112kh3kw3sh1sw1ph1pw1n"name"` is how the performance
tests of oneDNN write a convolution: pairs of a key and a number, `_` between them optional. A key
of one axis that is missing is the other axis's; dilation 0 is none.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from convsmith import convs
from convsmith.bench.case import Case
from convsmith.bench.results import OURS_LAST
from convsmith.errors import FormatError
from convsmith.geometry import Geometry

_PAIR = re.compile(r"_*(mb|g|[io][cdhw]|[ksdp][dhw])(\d+)")
_MAX_MACS = 10**9


def geometry_of(line: str) -> tuple[Geometry, tuple[int, ...]] | None:
    """The 2-D convolution that a descriptor describes and its input shape, batch 1.

    None for what is not one: a comment, other numbers of axes, padding that differs at the ends.

    Raises:
        FormatError: if a line is neither a comment nor a descriptor.

    >>> geometry, shape = geometry_of('ic96ih27oc256oh27kh5ph2n"conv2"')
    >>> geometry.kernel_size, geometry.padding, shape
    ((5, 5), ((2, 2), (2, 2)), (1, 96, 27, 27))
    """
    text = line.partition("#")[0].partition('n"')[0].strip().rstrip("_")
    if not text:
        return None
    found = {key: int(number) for key, number in _PAIR.findall(text)}
    if _PAIR.sub("", text) or not {"ic", "oc"} <= found.keys():
        raise FormatError(
            f"bench: {line.strip()!r} is no shape descriptor; it is pairs such as ic3oc8ih5kh3ph1"
        )
    if "ih" not in found or "id" in found or "kd" in found:
        return None

    def both(key: str, missing: int) -> tuple[int, int]:
        rows = found.get(f"{key}h", missing)
        return rows, found.get(f"{key}w", rows)

    height, width = both("i", 0)
    geometry = Geometry(
        in_channels=found["ic"],
        out_channels=found["oc"],
        kernel_size=both("k", 1),
        stride=both("s", 1),
        padding=tuple((p, p) for p in both("p", 0)),
        dilation=tuple(d + 1 for d in both("d", 0)),
        groups=found.get("g", 1),
    )
    shape = (1, found["ic"], height, width)
    stated = both("o", 0)
    is_symmetric = "oh" not in found or geometry.output_shape(shape)[2:] == stated
    return (geometry, shape) if is_symmetric else None


def sweep(folder: Path, most: int = 16) -> list[Case]:
    """At most so many cases, spread evenly over the distinct shapes of a folder's `*.txt` files.

    Shapes of more than 1e9 macs are left out: whole networks have enough of them.
    """
    lines = [
        line for path in sorted(folder.glob("*.txt")) for line in path.read_text().splitlines()
    ]
    shapes = list(_distinct(lines))
    step = max(1, -(-len(shapes) // most))
    return [_case(geometry, shape) for geometry, shape in shapes[::step]]


def _distinct(lines: Sequence[str]) -> Iterator[tuple[Geometry, tuple[int, ...]]]:
    seen = set()
    for found in map(geometry_of, lines):
        if found is not None and found not in seen and found[0].macs(found[1]).all <= _MAX_MACS:
            seen.add(found)
            yield found


def _case(geometry: Geometry, shape: tuple[int, ...]) -> Case:
    rows, columns = geometry.kernel_size
    marks = [f"sweep {rows}x{columns} {geometry.in_channels}->{geometry.out_channels}"]
    for key, value, ordinary in (
        ("stride", "x".join(map(str, geometry.stride)), "1x1"),
        ("dilation", "x".join(map(str, geometry.dilation)), "1x1"),
        ("groups", str(geometry.groups), "1"),
    ):
        if value != ordinary:
            marks.append(f"{key} {value}")
    build = partial(
        convs.Conv2d,
        *(geometry.in_channels, geometry.out_channels, geometry.kernel_size, geometry.stride),
        padding=geometry.padding,
        dilation=geometry.dilation,
        groups=geometry.groups,
    )
    name = " ".join(marks) + f", {shape[2]}x{shape[3]}"
    also = frozenset({OURS_LAST})
    return Case(name=name, group="sweep", build=build, input_shape=shape, also=also)

# SPDX-License-Identifier: Apache-2.0
"""What a result says of itself in Zarr's words: shapes, codecs, names of axes, where it lies."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from convsmith.scanning.lettering import Lettering
from convsmith.scanning.plan import Plan
from convsmith.scanning.sinks.reduction import parts_of
from convsmith.scanning.sources.protocol import Place
from convsmith.scanning.tiling import AxisPlan

OWN = "convsmith"  # the attribute and the folder that are ours
LEVEL = 1  # scores are noise to a compressor: more effort wins little


def corner(axis: AxisPlan) -> Fraction:
    """Where output 0 begins, in input pixels counted by their corners.

    Output j looks at the inputs [S j + a, S j + b]; its centre is the middle of their centres,
    S j + (a + b) / 2 + 1/2, and it is as wide as the stride.
    """
    return (axis.a + axis.b) / 2 + Fraction(1, 2) - axis.stride / 2


def facts(plan: Plan, place: Place | None, classes: Sequence[str] | None) -> dict[str, Any]:
    """What stands in the attributes: what the values are, and where they lie on the image."""
    corners = [corner(axis) for axis in plan.axes]
    said: dict[str, Any] = {
        "version": 1,
        "output": plan.output,
        "promise": plan.promise,
        "stride": [float(axis.stride) for axis in plan.axes],
        "corner": [float(at) for at in corners],
    }
    if classes is not None:
        said["classes"] = list(classes)
    if place is not None and len(plan.axes) >= 2:
        (down, across), (top, left) = (axis.stride for axis in plan.axes[-2:]), corners[-2:]
        sampled = place.sampled((down, across), (top, left))
        said["place"] = {"crs": sampled.crs, "transform": list(sampled.transform)}
    return said


def metadata(plan: Plan, lettering: Lettering, said: Mapping[str, Any]) -> dict[str, bytes]:
    """Zarr's metadata files by their names: one array, or a group of several."""
    files: dict[str, Buffer] = {}
    memory = MemoryStore(files)
    parts = parts_of(plan)
    attributes: dict[str, Any] = {OWN: dict(said)}
    if len(parts) > 1:
        zarr.create_group(memory, attributes=attributes)
    for part in parts:
        zarr.create_array(
            memory,
            name=part.name or None,
            shape=outside(lettering, (part.channels, *plan.outputs)),
            chunks=outside(lettering, (part.channels, *plan.cores)),
            dtype=part.dtype,
            fill_value=part.missing,
            serializer=BytesCodec(endian="little"),
            compressors=[ZstdCodec(level=LEVEL), Crc32cCodec()],
            dimension_names=list(lettering.axes.lower()),
            attributes=attributes if len(parts) == 1 else {},
        )
    return {name: buffer.to_bytes() for name, buffer in files.items()}


def outside(lettering: Lettering, sizes: Sequence[Any]) -> tuple[Any, ...]:
    """What belongs to (channels, *space), in the order on disk."""
    return tuple(sizes[place] for place in np.argsort(lettering.order))

# SPDX-License-Identifier: Apache-2.0
"""`sliding`: how a network slides over images, found from its operators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from torch import nn

from convsmith.analysis.memory import peak_bytes
from convsmith.analysis.operators import sizes
from convsmith.capture import spelt_out
from convsmith.errors import UnsupportedError
from convsmith.scanning.sliding.comparing import check_alike
from convsmith.scanning.sliding.reading import Reading, Row
from convsmith.scanning.sliding.result import AxisSliding
from convsmith.scanning.sliding.together import TOGETHER, check_apart
from convsmith.scanning.sliding.watching import Watched, refusal, watch
from convsmith.scanning.tiling import AxisPlan

# The geometry is found on images so much larger than the given one, in step with most periods.
_MULTIPLE = 2**8 * 3**2 * 5


@dataclass(frozen=True, eq=False)
class Sliding:
    """A network that slides over images of any size.

    Attributes:
        axes: How, along each spatial axis.
        in_channels, out_channels: Of the image and the map that comes back.
    """

    axes: tuple[AxisSliding, ...]
    in_channels: int
    out_channels: int
    network: nn.Module
    watched: Watched
    rows: Sequence[Mapping[int, Row]]

    def outputs(self, space: Sequence[int]) -> tuple[int, ...]:
        """The sizes of the map that an image of these sizes gives.

        Raises:
            CaptureError: if the network does not run on such an image.
            UnsupportedError: if it computes otherwise there than on larger images.
        """
        return sizes(self._on(space).result)[2:]

    def is_padded(self, space: Sequence[int]) -> bool:
        """Whether any output of an image of these sizes depends on what lies beyond its edges.

        Where none of a classifier's native image does, its map on a large image holds its answers
        to every crop; else the map sees real neighbours where a crop sees padding. Padding that
        follows the size is felt if it is another than on the image that this was found for.
        """
        try:
            pairs = zip(self.axes, space, self.outputs(space), strict=True)
        except UnsupportedError:
            return True
        return any(axis.is_padded(size, outputs) for axis, size, outputs in pairs)

    def live_bytes(self, space: Sequence[int], batch: int = 1) -> int:
        """The most bytes of activations alive at once while a batch of such images runs.

        What kernels take for themselves is not in it.
        """
        watched = watch(self.network, self.in_channels, space, batch)
        return peak_bytes(watched.result.graph)

    def check(self, plans: Sequence[AxisPlan]) -> None:
        """Run the shapes of a tile, and compare each layer's map with the whole image's.

        Raises:
            CaptureError: if the network does not run on such a tile.
            UnsupportedError: if a layer's map on a tile is no window of its map on the image.
        """
        whole = self._on([plan.size for plan in plans])
        tile = self._on([plan.read for plan in plans])
        nodes = zip((*whole.steps, whole.result), (*tile.steps, tile.result), strict=True)
        for rows, (large, small) in zip(self.rows, nodes, strict=True):
            for axis, row in rows.items():
                fewer = (sizes(large)[row.axis] - sizes(small)[row.axis]) // row.inner
                if fewer * row.cone.stride != plans[axis - 2].size - plans[axis - 2].read:
                    raise refusal(
                        large,
                        f"gives a map of {sizes(small)} on a tile, which is no window of the one "
                        f"of {sizes(large)} on the whole image",
                        "compute no size in the network",
                    )

    def _on(self, space: Sequence[int]) -> Watched:
        watched = watch(self.network, self.in_channels, space)
        check_alike(watched, self.watched)
        return watched


def sliding(network: nn.Module, channels: int, space: Sequence[int]) -> Sliding:
    """Tell how a network slides over images of these sizes.

    Output j depends on the inputs [stride j + a, stride j + b] along each axis, and on nothing else
    of the image: whatever reads more, or differently from place to place, is refused by name.

    Args:
        network: A module that takes one image and returns one map.
        channels: Of the image.
        space: The image's sizes. Only their remainders by the period matter, for networks whose
            padding follows them.

    Raises:
        CaptureError: if the network does not run on large images.
        UnsupportedError: naming the first operator that keeps it from sliding, and the remedy.

    Cost: some milliseconds a layer; no weight is read.
    Source: Araujo, Norris and Sim 2019, doi:10.23915/distill.00021, for the composition.

    >>> (axis,) = sliding(nn.Conv1d(1, 1, 3, stride=2, padding=1), 1, [100]).axes
    >>> axis.stride, axis.cone.a, axis.cone.b, axis.period
    (Fraction(2, 1), Fraction(-1, 1), Fraction(1, 1), 2)
    """
    spelt = spelt_out(network)
    multiple = _MULTIPLE
    while True:
        rests = [size % multiple for size in space]
        small, large = (
            watch(spelt, channels, [times * multiple + rest for rest in rests]) for times in (1, 2)
        )
        check_alike(small, large)
        reading = Reading(small)
        reading.run()
        enough = lcm(multiple, *reading.period.values())
        if enough == multiple:
            break
        multiple = enough
    check_apart(watch(spelt, channels, small.sizes, TOGETHER))
    rows = [reading.rows.get(node, {}) for node in (*small.steps, small.result)]
    return Sliding(_axes(reading), channels, sizes(small.result)[1], spelt, small, rows)


def _axes(reading: Reading) -> tuple[AxisSliding, ...]:
    result, rank = reading.watched.result, len(sizes(reading.watched.source))
    rows = reading.rows[result]
    shape = sizes(result)
    if len(shape) != rank or shape[0] != 1 or _places(rows) != [*range(2, rank)]:
        raise refusal(
            result,
            f"gives a result of {shape} for an image of {sizes(reading.watched.source)}",
            "a scan writes maps of (batch, channels, *space), with the axes of the image",
        )
    return tuple(
        AxisSliding(
            cone=rows[axis].cone, period=reading.period[axis], least=reading.least.get(axis, 1)
        )
        for axis in range(2, rank)
    )


def _places(rows: Mapping[int, Row]) -> list[int]:
    """Where the axes of the image are in a result; 0 for one that is elsewhere."""
    return [axis if row.axis == axis else 0 for axis, row in sorted(rows.items())]

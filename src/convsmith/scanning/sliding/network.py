# SPDX-License-Identifier: Apache-2.0
"""`sliding`: how a network slides over images, found from its operators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from torch import nn

from convsmith.analysis.memory import peak_bytes
from convsmith.analysis.operators import sizes
from convsmith.capture import spelt_out
from convsmith.scanning.sliding.comparing import check_alike
from convsmith.scanning.sliding.reading import Reading, Row
from convsmith.scanning.sliding.result import AxisSliding
from convsmith.scanning.sliding.watching import Watched, refusal, watch
from convsmith.scanning.tiling import AxisPlan

# A multiple of most periods: sizes that are no multiple are dealt with by tiling.
_SIZE = 2**8 * 3**2 * 5


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
        to every crop; else the map sees real neighbours where a crop sees padding.
        """
        pairs = zip(self.axes, space, self.outputs(space), strict=True)
        return any(axis.is_padded(size, outputs) for axis, size, outputs in pairs)

    def live_bytes(self, space: Sequence[int], batch: int = 1) -> int:
        """The most bytes of activations alive at once while a batch of such images runs.

        What kernels take for themselves is not in it.
        """
        watched = watch(self.network, self.in_channels, space, batch)
        return peak_bytes(watched.result.graph)

    def check(self, plans: Sequence[AxisPlan]) -> None:
        """Run the shapes of every size of tile, and compare each layer's with the whole image's.

        Raises:
            CaptureError: if the network does not run on such a tile.
            UnsupportedError: if a layer's map on a tile is no window of its map on the image.
        """
        whole = self._on([plan.size for plan in plans])
        inside = self._on([min(plan.length, plan.size) for plan in plans])
        at_end = self._on([plan.size - plan.last_start for plan in plans])
        steps = zip(whole.steps, inside.steps, at_end.steps, strict=True)
        ends = (whole.result, inside.result, at_end.result)
        for rows, nodes in zip(self.rows, (*steps, ends), strict=True):
            shapes = [sizes(node) for node in nodes]
            for axis, row in rows.items():
                plan = plans[axis - 2]
                counts = [shape[row.axis] // row.inner for shape in shapes]
                stride = row.cone.stride
                fits = counts[0] - counts[2] == plan.last_start / stride
                if plan.length <= plan.size:
                    fits = fits and counts[1] == plan.length / stride - row.excess
                if not fits:
                    raise refusal(
                        nodes[0],
                        f"gives maps of {shapes[1]} and {shapes[2]} on tiles where the whole image "
                        f"gives {shapes[0]}, which do not lie in it as windows",
                        "cut or pad the image to a multiple of "
                        f"{[sliding.period for sliding in self.axes]}",
                    )

    def _on(self, space: Sequence[int]) -> Watched:
        watched = watch(self.network, self.in_channels, space)
        check_alike(watched, self.watched)
        return watched


def sliding(network: nn.Module, channels: int, num_axes: int) -> Sliding:
    """Tell how a network slides over images with `num_axes` spatial axes.

    Output j depends on the inputs [stride j + a, stride j + b] along each axis, and on nothing else
    of the image: whatever reads more, or differently from place to place, is refused by name.

    Raises:
        CaptureError: if the network does not run on large images.
        UnsupportedError: naming the first operator that keeps it from sliding, and the remedy.

    Cost: some milliseconds a layer; no weight is read.
    Source: Araujo, Norris and Sim 2019, doi:10.23915/distill.00021, for the composition.
    """
    spelt = spelt_out(network)
    size = _SIZE
    while True:
        small, large = (watch(spelt, channels, [n] * num_axes) for n in (size, 2 * size))
        check_alike(small, large)
        reading = Reading(small)
        reading.run()
        period = lcm(size, *reading.period.values())
        if period == size:
            break
        size = period
    rows = [reading.rows.get(node, {}) for node in (*small.steps, small.result)]
    return Sliding(_axes(reading), channels, sizes(small.result)[1], spelt, small, rows)


def _axes(reading: Reading) -> tuple[AxisSliding, ...]:
    result, rank = reading.watched.result, len(sizes(reading.watched.source))
    rows = reading.rows[result]
    shape = sizes(result)
    if len(shape) != rank or shape[0] != 1 or any(row.axis != k for k, row in rows.items()):
        raise refusal(
            result,
            f"gives a result of {shape} for an image of {sizes(reading.watched.source)}",
            "a scan writes maps of (batch, channels, *space), with the axes of the image",
        )
    return tuple(
        AxisSliding(
            cone=rows[axis].cone,
            period=reading.period[axis],
            least=max(
                reading.least.get(axis, 1),
                reading.least_at_end.get(axis, 0) + reading.period[axis] - 1,
            ),
            excess=rows[axis].excess,
        )
        for axis in range(2, rank)
    )

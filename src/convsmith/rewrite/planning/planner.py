# SPDX-License-Identifier: Apache-2.0
"""Choose how each convolution of a network is computed, by measurement on this machine.

places -> rows of places -> chains of one to three -> candidates timed
       -> the cheapest cut of each row into chains -> written into a copy of the graph
"""

from collections.abc import Callable, Iterator
from math import inf

from torch import Tensor, fx

from convsmith.capture import Captured
from convsmith.native.chains import Chain, ChainKernel
from convsmith.native.layout import is_channels_last
from convsmith.rewrite.inputs import Inputs
from convsmith.rewrite.machine import machine
from convsmith.rewrite.planning.candidates import Problem, measured, serving
from convsmith.rewrite.planning.observing import layout_changes, observe
from convsmith.rewrite.planning.places import Place, places, runs
from convsmith.rewrite.planning.plan import TORCH, Choice, Plan
from convsmith.rewrite.planning.rounding import MOST_ERROR, Roundings, roundings
from convsmith.rewrite.planning.writing import write
from convsmith.rewrite.surgery import stored

_LONGEST_CHAIN = 3
_BUDGET_S = 0.15  # for the candidates of one problem
_PASSES = 3  # over all problems, which share the budget

Row = list[Place]
Segment = tuple[Place, ...]


def plan_kernels(
    captured: Captured,
    inputs: Inputs,
    *,
    math: str,
    timing: bool,
    progress: Callable[[str], None],
) -> tuple[Captured, Plan]:
    """A copy of the network with the chosen kernels written in, and what was chosen.

    Args:
        captured: The network, after all exact rewrites.
        inputs: A call at the size that matters; kernels that do not sum directly are judged on it.
        math: "fast" admits kernels that do not sum directly, where their error allows.
        timing: Measure; otherwise take the direct kernels of the highest preference.
        progress: Told what is being done.

    Cost: some runs of the network, and some 0.15 s for each distinct chain of convolutions.
    """
    planned = captured.copy()
    chosen = _Planner(planned, inputs, math, timing, progress).chosen()
    # The last one first: what a segment reads is then still as it was found.
    for segment, chain, choice in reversed(chosen):
        write(planned, segment, chain, choice.kernel)
    planned.refresh()
    return planned, Plan(
        choices=tuple(choice for _, _, choice in chosen),
        layout_changes=layout_changes(planned, inputs),
        input_shapes=tuple(
            tuple(leaf.shape)
            for leaf in captured.module._leaves(inputs.args, inputs.kwargs)
            if isinstance(leaf, Tensor)
        ),
        machine=machine(),
        math=math,
        is_measured=timing,
    )


class _Planner:
    def __init__(
        self,
        captured: Captured,
        inputs: Inputs,
        math: str,
        timing: bool,
        progress: Callable[[str], None],
    ) -> None:
        self.captured, self.inputs = captured, inputs
        self.math, self.timing, self.progress = math, timing, progress
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.contiguous: set[fx.Node] = set()  # inputs that the caller gives so
        self.times: dict[Problem, dict[str, float]] = {}
        self.roundings: dict[Segment, Roundings] = {}

    def chosen(self) -> list[tuple[Segment, Chain, Choice]]:
        """The cheapest cut of every row into chains, in the order of the graph."""
        self._see_shapes()
        rows = list(runs(places(self.captured)))
        if self.timing:
            self._time(rows)
            self._judge(rows)
        order = {node: i for i, node in enumerate(self.captured.graph.nodes)}
        segments = [segment for row in rows for segment in self._cut(row)]
        segments.sort(key=lambda segment: order[segment[-1].result])
        return [(segment, _chain(segment), self._choice(segment)) for segment in segments]

    def _see_shapes(self) -> None:
        def look(node: fx.Node, value: Callable[[fx.Node], object]) -> None:
            for read in node.all_input_nodes:
                seen = value(read)
                if isinstance(seen, Tensor):
                    self.shapes[read] = tuple(seen.shape)
                    if read.op == "placeholder" and not is_channels_last(seen):
                        self.contiguous.add(read)

        observe(self.captured, self.inputs, look)

    def _problem(self, segment: Segment) -> Problem:
        x = segment[0].x
        return Problem(_chain(segment), self.shapes[x], x in self.contiguous)

    def _time(self, rows: list[Row]) -> None:
        """Time each distinct problem, for all layers that pose it."""
        posed = {self._problem(s): s for row in rows for s in _segments(row)}
        timed = [
            (problem, segment)
            for problem, segment in posed.items()
            if len(segment) == 1 or serving(problem, math=self.math)
        ]
        weights = {place.weight: self._tensor(place.weight).nbytes for row in rows for place in row}
        for turn in range(_PASSES):
            for i, (problem, segment) in enumerate(timed, 1):
                self.progress(f"timing kernels: {i} of {len(timed)}, pass {turn + 1}")
                self.times[problem] = measured(
                    problem,
                    *self._weights_and_biases(segment),
                    math=self.math,
                    budget_s=_BUDGET_S / _PASSES,
                    network_bytes=sum(weights.values()),
                    earlier=self.times.get(problem),
                )

    def _judge(self, rows: list[Row]) -> None:
        """Measure the errors of kernels that would win but do not sum directly, layer by layer."""
        judged: dict[fx.Node, list[tuple[Segment, list[ChainKernel]]]] = {}
        for segment in (segment for row in rows for segment in _segments(row)):
            problem = self._problem(segment)
            kernels, times = serving(problem, math=self.math), self.times.get(problem, {})
            indirect = {k.name for k in kernels if not k.is_direct}
            best = min((ms for name, ms in times.items() if name not in indirect), default=inf)
            winning = [k for k in kernels if k.name in indirect and times[k.name] < best]
            if winning:
                judged.setdefault(segment[0].nodes[0], []).append((segment, winning))
        if not judged:
            return
        self.progress(f"measuring the rounding of {len(judged)} layers")

        def look(node: fx.Node, value: Callable[[fx.Node], object]) -> None:
            for segment, kernels in judged.get(node, ()):
                x = value(segment[0].x)
                assert isinstance(x, Tensor)  # its shape was seen
                self.roundings[segment] = roundings(
                    _chain(segment).stages, x, *self._weights_and_biases(segment), kernels
                )

        observe(self.captured, self.inputs, look)

    def _cut(self, row: Row) -> list[Segment]:
        """The cheapest way to cut a row into chains; of equal ones, that of the longest chains."""
        best: list[tuple[float, list[Segment]]] = [(0.0, [])]
        for end in range(1, len(row) + 1):
            options = []
            for begin in range(max(0, end - _LONGEST_CHAIN), end):
                segment = tuple(row[begin:end])
                cost = self._cost(segment)
                if cost is not None:
                    options.append((best[begin][0] + cost, [*best[begin][1], segment]))
            best.append(min(options, key=lambda option: option[0]))
        return best[-1][1]

    def _cost(self, segment: Segment) -> float | None:
        """Milliseconds; unmeasured, less for what is preferred. None if nothing computes it."""
        allowed = self._allowed(segment)
        if not allowed:
            return None
        return min(allowed.values())

    def _allowed(self, segment: Segment) -> dict[str, float]:
        """The candidates for a segment, with their cost."""
        problem = self._problem(segment)
        if not self.timing:
            preferred = {
                kernel.name: -float(kernel.preference(problem.chain, problem.images))
                for kernel in serving(problem, math="strict")
            }
            preferred = {name: cost for name, cost in preferred.items() if cost < 0}
            return preferred | ({TORCH: 0.0} if len(segment) == 1 else {})
        times = self.times.get(problem, {})
        refused = self._too_coarse(segment)
        return {name: ms for name, ms in times.items() if name not in refused}

    def _too_coarse(self, segment: Segment) -> set[str]:
        """Kernels whose error is too large here, or was not worth measuring."""
        kernels = serving(self._problem(segment), math=self.math)
        found = self.roundings.get(segment, Roundings()).kernels
        fine = {name for name, rounding in found.items() if rounding.relative <= MOST_ERROR}
        return {k.name for k in kernels if not k.is_direct} - fine

    def _choice(self, segment: Segment) -> Choice:
        problem, allowed = self._problem(segment), self._allowed(segment)
        kernel = min(allowed, key=lambda name: allowed[name])
        times = self.times.get(problem, {})
        found = self.roundings.get(segment, Roundings())
        rounding = found.kernels.get(kernel)
        return Choice(
            where=tuple(place.name for place in segment),
            what=" + ".join(_described(place) for place in segment),
            kernel=kernel,
            why=self._why(kernel, segment),
            macs=problem.chain.macs(problem.images),
            ms=times,
            error=rounding.relative if rounding else None,
            largest_error=rounding.largest if rounding else None,
            direct_error=found.torch.relative if rounding else None,
        )

    def _why(self, kernel: str, segment: Segment) -> str:
        if not self.timing:
            return "the fixed rule"
        times = self.times[self._problem(segment)]
        coarse = self.roundings.get(segment, Roundings()).kernels
        notes = [
            f"{name} would take {times[name]:.3g} ms, but its error is {rounding.relative:.1e}"
            for name, rounding in coarse.items()
            if rounding.relative > MOST_ERROR
        ]
        others = {name: ms for name, ms in times.items() if name != kernel}
        if len(segment) > 1:
            apart = sum(min(self._allowed((place,)).values()) for place in segment)
            notes.insert(0, f"one by one they take {apart:.3g} ms")
        elif others:
            second = min(others, key=lambda name: others[name])
            notes.insert(0, f"next is {second} with {others[second]:.3g} ms")
        else:
            notes.insert(0, "nothing else computes it")
        return f"{times[kernel]:.3g} ms; " + "; ".join(notes)

    def _weights_and_biases(self, segment: Segment) -> tuple[list[Tensor], list[Tensor | None]]:
        weights = [self._tensor(place.weight) for place in segment]
        return weights, [self._tensor(p.bias) if p.bias else None for p in segment]

    def _tensor(self, node: fx.Node) -> Tensor:
        tensor = stored(self.captured, node)
        assert tensor is not None  # a place has its weights stored
        return tensor.detach()


def _segments(row: Row) -> Iterator[Segment]:
    for begin in range(len(row)):
        for end in range(begin + 1, min(begin + _LONGEST_CHAIN, len(row)) + 1):
            yield tuple(row[begin:end])


def _chain(segment: Segment) -> Chain:
    stages = tuple(place.stage for place in segment)
    return Chain(stages, has_residual=segment[-1].residual is not None)


def _described(place: Place) -> str:
    """A layer in a few words: "3x3 32->64 s2, groups 32, add, relu", "linear 64->10"."""
    g, axes = place.stage.geometry, place.axes
    size = "x".join(map(str, g.kernel_size[-axes:])) if axes else "linear"
    words = [size, f"{g.in_channels}->{g.out_channels}"]
    words += [f"s{max(g.stride)}"] if max(g.stride) > 1 else []
    words += [f"d{max(g.dilation)}"] if max(g.dilation) > 1 else []
    extras = [f"groups {g.groups}"] if g.groups > 1 else []
    extras += ["add"] if place.residual is not None else []
    extras += [place.stage.activation] if place.stage.activation != "none" else []
    return ", ".join([" ".join(words), *extras])

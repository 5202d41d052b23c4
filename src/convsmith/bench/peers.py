# SPDX-License-Identifier: Apache-2.0
"""Who is compared: ways to run convsmith, and its peers on the same weights in plain torch."""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Literal, Protocol

import torch
from torch import Tensor

from convsmith.bench.case import Case
from convsmith.bench.cases import plain
from convsmith.bench.results import EAGER, OURS, OURS_LAST, STRICT, STRICT_LAST
from convsmith.bench.runtimes import RuntimeRunner, export
from convsmith.bench.turns import Runner
from convsmith.rewrite import optimize


class Contender(Runner, Protocol):
    """A network made ready to run its input."""

    def output(self) -> Tensor:
        """What it computes."""


class InProcess:
    """Anything that torch calls, in this process."""

    def __init__(self, network: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self._network, self._x = network, x

    @torch.no_grad()
    def run(self, calls: int) -> float:
        """Seconds of so many calls."""
        start = perf_counter()
        for _ in range(calls):
            self._network(self._x)
        return perf_counter() - start

    @torch.no_grad()
    def output(self) -> Tensor:
        """What it computes."""
        return self._network(self._x)


class Work:
    """One case, and what its contenders share: modules, input, an exported file."""

    def __init__(self, case: Case, threads: int, resources: ExitStack) -> None:
        self.module, self.x, self.threads = case.module(), case.input(), threads
        self.twin = plain(self.module)
        self._resources = resources

    def runtime(self, engine: str) -> RuntimeRunner:
        """A runtime that has loaded the twin; its process ends with the work."""
        runner = RuntimeRunner(engine, self._exported, self.threads)
        self._resources.callback(runner.close)
        return runner

    @cached_property
    def _exported(self) -> Path:
        folder = Path(self._resources.enter_context(TemporaryDirectory()))
        export(self.twin, self.x, folder)
        return folder


@contextmanager
def work_on(case: Case, threads: int) -> Iterator[Work]:
    """The work of a case; torch has so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ExitStack() as resources:
            yield Work(case, threads, resources)
    finally:
        torch.set_num_threads(before)
        torch.compiler.reset()


def _optimized(math: Literal["fast", "strict"], *, last: bool) -> Callable[[Work], Contender]:
    def prepare(work: Work) -> Contender:
        x = _channels_last(work.x) if last else work.x
        # As anybody calls it: what it decides by timing is part of what is compared.
        return InProcess(optimize(work.module, x, math=math).model, x)

    return prepare


def _eager(work: Work) -> Contender:
    return InProcess(work.module, work.x)


def _torch(work: Work) -> Contender:
    return InProcess(work.twin, work.x)


def _torch_channels_last(work: Work) -> Contender:
    network = copy.deepcopy(work.twin)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == work.x.ndim:  # kernels given for each place have an axis more
            tensor.data = _channels_last(tensor.data)
    return InProcess(network, _channels_last(work.x))


def _torch_compiled(work: Work) -> Contender:
    from torch._inductor import config

    compiled = torch.compile(work.twin, fullgraph=True, dynamic=False)
    with config.patch(freezing=True), torch.no_grad():
        compiled(work.x)
    return InProcess(compiled, work.x)


def _channels_last(x: Tensor) -> Tensor:
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=last)


@dataclass(frozen=True)
class Entrant:
    """A name, how it is made ready, and the packages that it needs."""

    name: str
    prepare: Callable[[Work], Contender]
    needs: tuple[str, ...] = ()
    takes_seconds: bool = False  # to prepare: left out of a rehearsal
    by_request: bool = False  # only where a case names it

    def enters(self, case: Case) -> bool:
        """Whether it takes part in a case."""
        return not self.by_request or self.name in case.also

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]


_EXPORT = ("onnx", "onnxscript")
ENTRANTS = (
    Entrant(OURS, _optimized("fast", last=False)),
    Entrant(OURS_LAST, _optimized("fast", last=True), by_request=True),
    Entrant(STRICT, _optimized("strict", last=False), by_request=True),
    Entrant(STRICT_LAST, _optimized("strict", last=True), by_request=True),
    Entrant(EAGER, _eager),
    Entrant("torch", _torch),
    Entrant("torch channels_last", _torch_channels_last),
    Entrant("torch.compile, frozen", _torch_compiled, takes_seconds=True),
    Entrant(
        "ONNX Runtime",
        lambda work: work.runtime("onnxruntime"),
        ("onnxruntime", *_EXPORT),
        takes_seconds=True,
    ),
    Entrant(
        "OpenVINO",
        lambda work: work.runtime("openvino"),
        ("openvino", *_EXPORT),
        takes_seconds=True,
    ),
)


def present(*, quick: bool) -> tuple[list[Entrant], dict[str, str]]:
    """Those who can be compared here, and why each of the others cannot."""
    absent = {}
    for entrant in ENTRANTS:
        if entrant.missing():
            absent[entrant.name] = f"needs {', '.join(entrant.missing())}: convsmith[bench] has it"
        elif quick and entrant.takes_seconds:
            absent[entrant.name] = "left out of a rehearsal (--quick)"
    return [entrant for entrant in ENTRANTS if entrant.name not in absent], absent

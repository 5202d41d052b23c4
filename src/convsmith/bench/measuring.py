# SPDX-License-Identifier: Apache-2.0
"""Measuring one case: make everyone ready, see that they agree, then let them take turns."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import inf

import torch
from torch import Tensor, nn

from convsmith.bench.case import Case
from convsmith.bench.peers import Contender, Entrant, Work, work_on
from convsmith.bench.results import Row
from convsmith.bench.turns import said, take_turns
from convsmith.family import families
from convsmith.geometry import Macs

# Float32 sums in any order stay below 1e-6 a layer, Winograd below 1e-5; a wrong weight, border or
# layout moves an output by far more.
_TOLERANCE = 1e-4


def measure(
    case: Case,
    entrants: Iterable[Entrant],
    *,
    threads: int,
    rounds: int,
    budget_s: float = inf,
    progress: Callable[[str], None],
) -> Row:
    """Time everyone on a case; whoever fails or computes something else is an error, no time.

    Timing takes no more rounds once `budget_s` is spent; making ready takes what it takes.
    """
    with work_on(case, threads) as work:
        with torch.no_grad():
            expected = work.twin(work.x)
        entered = [entrant for entrant in entrants if entrant.enters(case)]
        contenders, errors = _ready(work, entered, expected, progress)
        progress("taking turns")
        race = take_turns(contenders, rounds, budget_s=budget_s)
        return Row(
            name=case.name,
            group=case.group,
            input_shape=case.input_shape,
            macs=macs(work.module, work.x).live,
            bytes=sum(t.nbytes for t in (work.x, expected, *work.module.parameters())),
            replaces=case.replaces,
            rounds=race.rounds,
            times=race.times,
            errors=errors | race.errors,
        )


def _ready(
    work: Work, entrants: Iterable[Entrant], expected: Tensor, progress: Callable[[str], None]
) -> tuple[dict[str, Contender], dict[str, str]]:
    contenders, errors = {}, {}
    for entrant in entrants:
        progress(f"preparing {entrant.name}")
        try:
            contender = entrant.prepare(work)
            wrong = disagreement(contender.output(), expected)
        except Exception as error:  # whatever a peer does wrong is its result, not our end
            errors[entrant.name] = said(error)
            continue
        if wrong:
            errors[entrant.name] = wrong
        else:
            contenders[entrant.name] = contender
    return contenders, errors


def disagreement(found: Tensor, expected: Tensor) -> str | None:
    """What is wrong with an output, None if it is torch's up to rounding.

    >>> disagreement(torch.ones(2), torch.ones(2)), disagreement(torch.ones(2), torch.zeros(3))
    (None, 'wrong: shape (2,), torch has (3,)')
    """
    if found.shape != expected.shape:
        return f"wrong: shape {tuple(found.shape)}, torch has {tuple(expected.shape)}"
    error = torch.linalg.vector_norm((found - expected).double())
    relative = float(error / torch.linalg.vector_norm(expected.double()).clamp_min(1e-30))
    if not relative <= _TOLERANCE:  # so that NaN is wrong, too
        return f"wrong: outputs differ from torch's by {relative:.2g} (relative L2)"
    return None


def macs(module: nn.Module, x: Tensor) -> Macs:
    """The macs of a network: its families' answers at the sizes that they meet, and linear layers.

    >>> from convsmith import convs
    >>> macs(nn.Sequential(convs.Conv2d(3, 8, 3, padding=1)), torch.zeros(1, 3, 2, 2))
    Macs(all=864, live=384)
    """
    counts: list[Macs] = []
    of_layer = {layer: f.macs for f in families().values() for layer in f.layers.values()}

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shape = tuple(inputs[0].shape)
        if isinstance(layer, nn.Linear):
            products = inputs[0].numel() * layer.out_features
            counts.append(Macs(products, products))
        else:
            counts.append(of_layer[type(layer)](layer.geometry, shape))

    with _watched(module, {nn.Linear, *of_layer}, count), torch.no_grad():
        module(x)
    return sum(counts, Macs(0, 0))


@contextmanager
def _watched(
    module: nn.Module, kinds: set[type[nn.Module]], see: Callable[..., None]
) -> Iterator[None]:
    """Call `see` before the outermost modules of some kinds: their parts are counted in them."""
    found: list[nn.Module] = []

    def search(part: nn.Module) -> None:
        if type(part) in kinds:
            found.append(part)
        else:
            for child in part.children():
                search(child)

    search(module)
    hooks = [part.register_forward_pre_hook(see) for part in dict.fromkeys(found)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

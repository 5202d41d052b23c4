# SPDX-License-Identifier: Apache-2.0
"""Case: one row of the comparison, as a network to build and the size of its input."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

_SHRINK, _LEAST = 8, 4


@dataclass(frozen=True, kw_only=True)
class Case:
    """One piece of work: a module made of convsmith's layers, run on one input.

    `replaces` names the row of the dense convolution that this one stands in for: its time saved is
    compared with its macs saved. `also` names the ways to run convsmith that are timed here beside
    the usual ones. `smaller` is the case to rehearse with; without one it is the same module on a
    map of an eighth of the side.
    """

    name: str
    group: str
    build: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    replaces: str | None = None
    also: frozenset[str] = frozenset()
    smaller: "Case | None" = None

    def small(self) -> "Case":
        """The same case at a size for tests and rehearsals.

        >>> case = Case(name="c", group="", build=nn.Identity, input_shape=(1, 64, 56, 14))
        >>> case.small().input_shape
        (1, 64, 7, 4)
        """
        case = self.smaller
        if case is None:
            batch, channels, *sizes = self.input_shape
            spatial = (max(_LEAST, size // _SHRINK) for size in sizes)
            case = replace(self, input_shape=(batch, channels, *spatial))
        return replace(case, name=f"small {self.name}", replaces=None)

    def module(self) -> nn.Module:
        """The network in eval mode, the same at every call; its norms have something to do."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            module = self.build().eval()
            for part in module.modules():
                if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                    _settle(part)
        return module.requires_grad_(False)

    def input(self) -> Tensor:
        """Normally distributed numbers, the same at every call."""
        return torch.randn(self.input_shape, generator=torch.Generator().manual_seed(1))


def _settle(norm: nn.Module) -> None:
    """Statistics as a trained norm has them: folding it away must change the weights."""
    with torch.no_grad():
        norm.running_mean.normal_(0, 0.1)  # type: ignore[operator]
        norm.running_var.uniform_(0.5, 1.5)  # type: ignore[operator]

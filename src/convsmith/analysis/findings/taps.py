# SPDX-License-Identifier: Apache-2.0
"""Taps that are zero in every filter: rings around a smaller kernel, gaps of a dilated one."""

from collections.abc import Iterator
from functools import reduce
from math import gcd, prod

import torch

from convsmith.analysis.findings.site import Site
from convsmith.analysis.result import Finding


def unused_taps(site: Site) -> Iterator[Finding]:
    """Look along each axis for the taps that any filter uses."""
    weight, geometry = site.weight, site.geometry
    if weight is None or geometry is None or prod(geometry.kernel_size) == 1:
        return
    used = weight.ne(0).any(1).any(0)
    if not used.any():
        return  # every channel is dead
    along = [_used_along(used, axis) for axis in range(used.dim())]
    smaller = [max(taps) - min(taps) + 1 for taps in along]
    step = [reduce(gcd, (t - min(taps) for t in taps), 0) or 1 for taps in along]
    fewer = [(n - 1) // d + 1 for n, d in zip(smaller, step, strict=True)]
    full = geometry.kernel_size
    if fewer == list(full):
        return
    share = 1 - prod(fewer) / prod(full)
    if any(d > 1 for d in step):
        what = f"its {_by(full)} kernel is a {_by(fewer)} one with gaps: dilation {_by(step)}"
        yield site.finding(what, "taps_to_dilation", share)
    else:
        what = f"zeros around a {_by(fewer)} kernel fill it up to {_by(full)}"
        yield site.finding(what, "crop_kernel", share)


def _used_along(used: torch.Tensor, axis: int) -> list[int]:
    others = [d for d in range(used.dim()) if d != axis]
    flat = used.any(dim=others) if others else used
    return flat.nonzero().flatten().tolist()


def _by(sizes: object) -> str:
    return "x".join(map(str, sizes))  # type: ignore[call-overload]

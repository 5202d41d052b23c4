# SPDX-License-Identifier: Apache-2.0
"""Kernels that are sums of few products: rows times columns, or few patterns for many channels."""

from collections.abc import Iterator

import torch
from torch import Tensor

from convsmith.analysis.findings.site import Site, rank_of
from convsmith.analysis.result import Finding

_MOST_RANK = 256


def low_rank(site: Site) -> Iterator[Finding]:
    """The cheapest exact factorisation of a weight, if one is cheaper than the weight."""
    kernels = site.kernels
    if kernels is None or not kernels.any():
        return
    found = [*_rows_by_columns(site), *_few_patterns(site, kernels)]
    if found:
        yield max(found, key=lambda finding: finding.saves_macs)


def _rows_by_columns(site: Site) -> Iterator[Finding]:
    """K[o, i, r, s] = sum over R of column[R, i, r] row[o, R, s]."""
    geometry, weight = site.geometry, site.weight
    if geometry is None or weight is None or weight.dim() != 4 or min(weight.shape[2:]) < 2:
        return
    outputs, inputs, rows, columns = weight.shape
    if inputs == 1 and not site.is_transposed:
        values = torch.linalg.svdvals(weight[:, 0])
        if bool((values[:, 1] <= values[:, 0] * 2**-20).all()):
            share = 1 - (rows + columns) / (rows * columns)
            what = f"each of its {rows}x{columns} kernels is a column times a row"
            yield site.finding(what, "separate_rank_one", share)
        return
    if geometry.groups > 1 or site.is_transposed:
        return
    matrix = weight.permute(1, 2, 3, 0).reshape(inputs * rows, columns * outputs)
    rank = _worthwhile(matrix)
    if rank is not None:
        what = f"its {rows}x{columns} kernels are {rank} columns times rows"
        yield site.finding(what, "separate_low_rank", _saved(matrix, rank))


def _few_patterns(site: Site, kernels: Tensor) -> Iterator[Finding]:
    """Outputs that are mixtures of R patterns: R filters, then a 1x1."""
    groups, outputs, inputs, taps = kernels.shape
    if groups > 1 or site.is_transposed or min(outputs, inputs * taps) < 2:
        return
    matrix = kernels[0].reshape(outputs, inputs * taps)
    rank = _worthwhile(matrix)
    if rank is not None:
        what = f"its {outputs} filters are mixtures of {rank}"
        yield site.finding(what, "split_low_rank", _saved(matrix, rank))


def _worthwhile(matrix: Tensor) -> int | None:
    """The rank, where two factors are cheaper than the matrix; ranks from 256 are not seen."""
    rows, columns = matrix.shape
    most = min(rows * columns // (rows + columns) + 1, _MOST_RANK)
    return rank_of(matrix, most) if most > 1 else None


def _saved(matrix: Tensor, rank: int) -> float:
    return 1 - rank * sum(matrix.shape) / matrix.numel()

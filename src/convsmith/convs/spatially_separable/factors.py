# SPDX-License-Identifier: Apache-2.0
"""A 2-D kernel as a column times a row, or as the best sum of a few of them.

    weight[o, i, r, s] ~ sum_j vertical[j, i, r] horizontal[o, j, s],    within each group

Read as a matrix with rows (i, r) and columns (o, s) this is a factorisation of rank j; the best one
of a given rank comes from the singular value decomposition.

Source: Eckart and Young, The Approximation of One Matrix by Another of Lower Rank, 1936.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

import torch
from torch import Tensor

from convsmith.errors import ArgumentError


@dataclass(frozen=True)
class Factors:
    """What one kernel falls into."""

    vertical: Tensor  # (groups * rank, i, kh, 1)
    horizontal: Tensor  # (o, rank, 1, kw)
    relative_error: float  # ||weight - product||_F / ||weight||_F


def factorize(weight: Tensor, groups: int, rank: int | None) -> Factors:
    """The factors of a weight (o, i, kh, kw); None: the smallest rank that reproduces it to
    rounding.

    A kernel that is a column times a row to the last bit is taken apart without rounding.

    Raises:
        ArgumentError: if a weight is not finite, or rank is not an integer between 1 and the
            smaller side of the matrix.
    """
    if not weight.isfinite().all():
        raise ArgumentError(
            f"from_kernel: {int((~weight.isfinite()).sum())} of {weight.numel()} weights are not "
            "finite; there is no nearest kernel"
        )
    o, i, kh, kw = weight.shape
    matrices = (
        weight.unflatten(0, (groups, o // groups)).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)
    )  # (groups, i*kh, o/groups*kw)
    u, s, vh = torch.linalg.svd(matrices.double(), full_matrices=False)
    full = s.shape[1]
    if rank is None:
        rank = _numerical_rank(matrices, s)
    if not isinstance(rank, int) or not 1 <= rank <= full:
        raise ArgumentError(
            f"from_kernel: rank {rank} must be an integer between 1 and {full}, the smaller side "
            f"of the kernel as a matrix of {tuple(matrices.shape[1:])}"
        )
    root = s[:, None, :rank].sqrt()
    columns, rows = (u[..., :rank] * root, root.mT * vh[:, :rank])
    columns, rows = columns.to(weight.dtype), rows.to(weight.dtype)
    for group, matrix in enumerate(matrices):
        exact = _exact_column_and_row(matrix) if rank == 1 else None
        if exact is not None:
            columns[group, :, 0], rows[group, 0] = exact
    vertical = columns.unflatten(1, (i, kh)).permute(0, 3, 1, 2).reshape(groups * rank, i, kh, 1)
    horizontal = rows.unflatten(2, (-1, kw)).transpose(1, 2).reshape(o, rank, 1, kw)
    return Factors(vertical, horizontal, _relative_error(matrices, columns, rows))


def _numerical_rank(matrices: Tensor, singular_values: Tensor) -> int:
    """The greatest rank of the matrices, what is below their rounding left out; at least 1."""
    rounding = max(matrices.shape[1:]) * torch.finfo(matrices.dtype).eps * singular_values[:, :1]
    return max(1, int((singular_values > rounding).sum(1).max()))


def _exact_column_and_row(matrix: Tensor) -> tuple[Tensor, Tensor] | None:
    """A column and the smallest integer row whose products are the matrix to the last bit, if
    there are such.

    Every float is an integer over a power of two, so the row is divided by its greatest common
    divisor; the column that is left fits in as many bits as the matrix.
    """
    first_row, first_column = (int(n) for n in torch.unravel_index(_pivot(matrix), matrix.shape))
    entries = [Fraction(v) for v in matrix[first_row].tolist()]
    if not any(entries):
        return torch.zeros_like(matrix[:, 0]), torch.zeros_like(matrix[0])
    unit = lcm(*(v.denominator for v in entries))
    whole = [int(v * unit) for v in entries]
    divisor = gcd(*whole)
    row = torch.tensor([float(v // divisor) for v in whole], dtype=torch.float64).to(matrix)
    column = matrix[:, first_column] / row[first_column]
    return (column, row) if torch.equal(torch.outer(column, row), matrix) else None


def _pivot(matrix: Tensor) -> Tensor:
    """Where the first entry that is not zero stands in the flat matrix; 0 if all are."""
    return (matrix != 0).flatten().to(torch.uint8).argmax()


def _relative_error(matrices: Tensor, columns: Tensor, rows: Tensor) -> float:
    norm = matrices.double().norm()
    difference = (matrices.double() - columns.double() @ rows.double()).norm()
    return float(difference / norm) if norm > 0 else 0.0

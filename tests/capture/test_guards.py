# SPDX-License-Identifier: Apache-2.0
"""Guards are interpreted: arithmetic on sizes, and nothing else."""

import pytest

from convsmith.capture.guards import holds, parse_guard
from convsmith.errors import ArgumentError

SHAPES = {"x": (2, 3, 8, 9), "y": (4,)}


@pytest.mark.parametrize(
    ("guard", "answer"),
    [
        ("x.size(2) == 2*(x.size(2)//2)", True),
        ("x.size(3) == 2*(x.size(3)//2)", False),
        ("x.size(3) % 4 == 1 and not x.size(2) < y.size(0)", True),
        ("max(x.size(2), y.size(0)) - 1 > 6 or x.size(0) != 2", True),
        ("(-3 + x.size(2)) // 2 >= 3", False),
        ("math.floor(x.size(2) / 3) == 2", True),
        ("x.size(2) // (x.size(0) - 2) == 1", False),
    ],
)
def test_holds(guard: str, answer: bool) -> None:
    assert holds(guard, SHAPES) is answer


@pytest.mark.parametrize(
    "guard",
    [
        *(
            "__import__('os')",
            "x.size.__class__",
            "x.size(9) == 1",
            "z.size(0) == 1",
            "x",
            "'a' * 9",
        ),
        *(
            "2 ** 9",
            "(lambda: 1)()",
            "[1]",
            "x.size(-1) == 9",
            "max()",
            "math.exp(1)",
            "x.stride(0) == 1",
        ),
        *("", "x.size(", "1 < 2 < 3", "x.size(0, 1)", "9 if 1 else 2", "\x00"),
    ],
)
def test_anything_else_is_refused(guard: str) -> None:
    with pytest.raises(ArgumentError, match=r"guard: .* is not an expression of"):
        parse_guard(guard, {"x": 4, "y": 1})


def test_deep_nesting_is_refused() -> None:
    message = r"guard: '1-1.* (is nested too deeply|is not an expression)"
    with pytest.raises(ArgumentError, match=message):
        parse_guard("1" + "-1" * 5000, {"x": 4})

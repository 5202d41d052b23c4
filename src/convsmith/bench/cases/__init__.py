# SPDX-License-Identifier: Apache-2.0
"""The rows of the comparison: blocks, single layers, a sweep of shapes, whole networks."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from convsmith.bench.case import Case
from convsmith.bench.cases.blocks import blocks
from convsmith.bench.cases.descriptors import sweep
from convsmith.bench.cases.layers import layers
from convsmith.bench.cases.networks import networks
from convsmith.bench.cases.plain import plain as plain
from convsmith.errors import ArgumentError


def select(patterns: Iterable[str] = ("*",), shapes: Path | None = None) -> list[Case]:
    """The cases whose name or group matches a shell pattern, and the dense ones they replace.

    Args:
        shapes: A folder of shape descriptors to sweep over as well.

    Raises:
        ArgumentError: if there is no such folder, or a pattern matches nothing.

    >>> [case.name for case in select(["mobilenet*"])]
    ['mobilenet_v1', 'mobilenet_v2']
    """
    if shapes is not None and not shapes.is_dir():
        raise ArgumentError(f"bench: --shapes {shapes} is no folder; give one with *.txt in it")
    cases = [*blocks(), *layers(), *(sweep(shapes) if shapes else []), *networks()]
    found = {case.name for pattern in patterns for case in _fitting(pattern, cases)}
    replaced = {case.replaces for case in cases if case.name in found}
    return [case for case in cases if case.name in found | replaced]


def _fitting(pattern: str, cases: list[Case]) -> list[Case]:
    found = [c for c in cases if fnmatchcase(c.name, pattern) or fnmatchcase(c.group, pattern)]
    if not found:
        groups = ", ".join(dict.fromkeys(case.group for case in cases))
        raise ArgumentError(
            f"bench: no case or group is called {pattern!r}; groups are {groups}, and '*3x3*' "
            "finds the names that have the word in them"
        )
    return found

# SPDX-License-Identifier: Apache-2.0
"""Where data sets lie that are too large to come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from convsmith.errors import ArgumentError

VARIABLE = "CONVSMITH_DATA"


def places(root: str | Path | None) -> list[Path]:
    """The folders to look in, best first: the one given; that of CONVSMITH_DATA; shared/data beside
    the current folder or beside this checkout.
    """
    if root is not None:
        return [Path(root)]
    if VARIABLE in os.environ:
        return [Path(os.environ[VARIABLE])]
    beside = [Path.cwd().parent, Path(__file__).parents[5]]
    return list(dict.fromkeys(folder / "shared" / "data" for folder in beside))


def find(name: str, parts: list[str], root: str | Path | None) -> list[Path]:
    """The files or folders `parts` of a data set.

    Raises:
        ArgumentError: if one of them is missing; the message says which, and where it was sought.
    """
    looked = places(root)
    for folder in looked:
        if (folder / parts[0]).exists():
            break
    missing = [part for part in parts if not (folder / part).exists()]
    if missing:
        where = " and ".join(str(place) for place in looked)
        raise ArgumentError(
            f"data {name}: {', '.join(missing)} not found in {where}; give --data-root FOLDER or "
            f"set {VARIABLE}"
        )
    return [folder / part for part in parts]

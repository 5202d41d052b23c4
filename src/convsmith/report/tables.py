# SPDX-License-Identifier: Apache-2.0
"""One look for every table."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> Table:
    """A plain table; columns whose name starts with `>` are aligned to the right.

    Entries are shown as they are: rich's markup in a layer's name has no effect.

    >>> [column.header for column in table(["layer", ">macs"], [["conv1", 1200]]).columns]
    ['layer', 'macs']
    """
    drawn = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in columns:
        right = column.startswith(">")
        drawn.add_column(column.removeprefix(">"), justify="right" if right else "left")
    for row in rows:
        drawn.add_row(*(Text("-" if entry is None else str(entry)) for entry in row))
    return drawn

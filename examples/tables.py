# SPDX-License-Identifier: Apache-2.0
"""Set the recorded results of all examples as one page of the manual.

python examples/tables.py > docs/examples.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_OPENING = """# Examples

Each is one command and at most a quarter of an hour on one core, all networks together one to two
hours; `--quick` rehearses it in seconds. The numbers are those that were recorded in
`examples/results`, on the machine that stands below each table;
`python examples/tables.py > docs/examples.md` writes this page from them. A load above the number
of threads says that the machine had other work to do, so that times are longer than they need be.
"""


def page() -> str:
    """The whole page."""
    results = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    return "\n".join([_OPENING, *(_section(name, found) for name, found in results.items())])


def _section(name: str, found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        f"## {found['title']}",
        f"    {found['command']}",
        found["words"],
        "\n".join(_row(cells) for cells in (found["columns"], _rule(found), *found["rows"])),
        f"![{found['title']}](../examples/results/{name}.svg)",
        f"{machine['cpu']}, {machine['instructions']}, {machine['threads']} thread, torch "
        f"{machine['torch']}, {machine['date']}{_load(machine)}.\n",
    ]
    return "\n\n".join(lines)


def _load(machine: dict[str, Any]) -> str:
    if "load" not in machine:
        return ""  # recorded before it was asked for
    return f", load {machine['load']} on {machine['cores']} cores"


def _rule(found: dict[str, Any]) -> list[str]:
    return ["---"] * len(found["columns"])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(page(), end="")

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

Each is one command and a few minutes on two cores; `--quick` rehearses it in seconds. The numbers
are those that were recorded in `examples/results`, on the machine that stands below each table;
`python examples/tables.py > docs/examples.md` writes this page from them.
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
        f"{machine['torch']}, {machine['date']}.\n",
    ]
    return "\n\n".join(lines)


def _rule(found: dict[str, Any]) -> list[str]:
    return ["---"] * len(found["columns"])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(page(), end="")

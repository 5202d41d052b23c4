# SPDX-License-Identifier: Apache-2.0
"""The options every command has, and where its words go: results to stdout, others to stderr."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]

progress_console = Console(stderr=True)
result_console = Console()


def print_json(data: Any) -> None:
    """Write data to stdout as JSON, one document."""
    typer.echo(json.dumps(data, indent=2, allow_nan=False))

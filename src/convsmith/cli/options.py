# SPDX-License-Identifier: Apache-2.0
"""The options every command has, and where its words go: results to stdout, others to stderr."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

# What a command works on; `subject.find` says what they mean.
Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A name from `convsmith list`, package.module:callable, or a saved folder.",
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Its weights (.safetensors .pth .th .npz).", exists=True)
]
Shape = Annotated[
    str | None, typer.Option("--input", metavar="N,C,H,W", help="The shape of an input.")
]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]

progress_console = Console(stderr=True)
result_console = Console()


def print_json(data: Any) -> None:
    """Write data to stdout as JSON, one document."""
    typer.echo(json.dumps(data, indent=2, allow_nan=False))

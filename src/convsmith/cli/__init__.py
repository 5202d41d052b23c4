# SPDX-License-Identifier: Apache-2.0
"""The command line: one command per file, each importing what it needs only when it is called."""

import sys
from typing import Annotated

import typer

from convsmith import __version__
from convsmith.cli import analyze, bench, doctor, listing, optimize, scan, train
from convsmith.errors import ArgumentError, ConvsmithError

app = typer.Typer(
    name="convsmith",
    help="The convolution toolkit for PyTorch: a trained network in, the same network out, better.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


app.command("analyze")(analyze.run)
app.command("optimize")(optimize.run)
app.command("scan")(scan.run)
app.command("train")(train.run)
app.command("bench")(bench.run)
app.command("list")(listing.run)
app.command("doctor")(doctor.run)


_THE_CALL_WAS_WRONG = (ArgumentError, FileNotFoundError, FileExistsError)


def main() -> None:
    """Run a command: exit code 0 if it is done, 1 if the work failed, 2 if the call was wrong."""
    try:
        app()
    except (ConvsmithError, OSError) as error:
        print(f"convsmith: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, _THE_CALL_WAS_WRONG) else 1)

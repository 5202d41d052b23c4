# SPDX-License-Identifier: Apache-2.0
"""`convsmith analyze`: what every layer of a network is, costs and sees."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from convsmith.cli import subject
from convsmith.cli.options import (
    Json,
    Model,
    Quiet,
    Seed,
    Shape,
    Weights,
    print_json,
    progress_console,
    result_console,
)
from convsmith.errors import ArgumentError


def run(
    model: Model = None,
    against: Annotated[
        str | None, typer.Option(help="A second MODEL, to be set beside the first.")
    ] = None,
    weights: Weights = None,
    shape: Shape = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Levels of the module tree to show.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run it too: each layer's time and its roofline.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page that shows all of it, in one file.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture for the page, to show on it what outputs see.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count, size up and explain every layer of a network, from shapes alone unless measured."""
    from rich.status import Status

    from convsmith import report

    _check_page(html, image, against)
    # What the network's own code prints is no part of the result.
    with redirect_stdout(sys.stderr), Status("loading", console=progress_console) as status:
        if quiet:
            status.stop()
        first = _analysed(model, weights, shape, seed, measure)
        second = None
        if against is not None:
            second = _analysed(against, None, shape, seed, measure)
    if html is not None:
        html.write_text(report.analysis_page(first, image), encoding="utf-8")
    if as_json:
        print_json(first if second is None else {"analysis": first, "against": second})
        return
    result_console.print(f"\n[bold]{first['model']}[/bold]", highlight=False)
    if second is None:
        result_console.print(report.analysis(first, depth=depth))
    else:
        result_console.print(report.analyses(first, second))


def _check_page(html: Path | None, image: Path | None, against: str | None) -> None:
    """Before the work begins: a page is possible, and nothing else is asked of it."""
    if image is not None and html is None:
        raise ArgumentError(f"--image {image}: the picture is for a page; give --html FILE too")
    if html is not None and against is not None:
        raise ArgumentError(
            f"--html {html}: a page shows one network; leave out --against {against}"
        )
    if html is not None and not html.absolute().parent.is_dir():
        raise ArgumentError(f"--html {html}: there is no folder {html.parent}; make it first")


def _analysed(
    model: str | None, weights: Path | None, shape: str | None, seed: int, measure: bool
) -> dict[str, Any]:
    from convsmith.analysis import analyze

    found = subject.find(model, weights, shape, seed)
    data = analyze(found.model, found.example, measure=measure).to_json()
    data["model"] = found.name
    return data

# SPDX-License-Identifier: Apache-2.0
"""`convsmith optimize`: a trained network in, the same network out, cheaper, with proof."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

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


def run(
    model: Model = None,
    weights: Weights = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Labelled images to check it on: a folder or an .npz.", exists=True),
    ] = None,
    shape: Shape = None,
    save: Annotated[Path | None, typer.Option(help="Folder to write the result to.")] = None,
    math: Annotated[
        Literal["fast", "strict"],
        typer.Option(help="May a layer round a little more to be faster?"),
    ] = "fast",
    timing: Annotated[
        bool,
        typer.Option(help="Choose kernels by measuring them, and time both networks."),
    ] = True,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rewrite a trained network into a cheaper one, prove it, and time both.

    Without a MODEL: a small network on real handwritten digits, both of them in the package.
    """
    from rich.status import Status

    from convsmith.report import optimization
    from convsmith.rewrite import optimize

    # What the network's own code prints is no part of the result.
    with redirect_stdout(sys.stderr), Status("loading", console=progress_console) as status:
        if quiet:
            status.stop()
        found = subject.find(model, weights, shape, seed)
        done = optimize(
            found.model,
            found.example,
            images=_images(images, found, is_default=model is None and weights is None),
            math=math,
            timing=timing,
            seed=seed,
            progress=status.update,
        )
        if save is not None:
            done.save(save, about=_about(found))
    report: dict[str, Any] = {**done.report.to_json(), "model": found.name}
    report["notes"] += found.remarks
    if as_json:
        print_json(report)
        return
    result_console.print(f"\n[bold]{found.name}[/bold], before and after", highlight=False)
    result_console.print(optimization(report))
    _say_what_next(save, is_default=model is None)


def _images(path: Path | None, found: subject.Subject, *, is_default: bool) -> Any:
    from convsmith.training import digits

    if path is None:
        return digits.held_out() if is_default else None
    return subject.labelled(found, path)


def _about(found: subject.Subject) -> dict[str, Any]:
    """What travels with the saved network."""
    steps = found.preprocess.to_json() if found.preprocess else None
    return {"name": found.name, "input_shape": list(found.shape), "preprocess": steps}


def _say_what_next(save: Path | None, *, is_default: bool) -> None:
    if save is not None:
        result_console.print(
            f"\n  saved: {save}   (cs.load({str(save)!r}) gives it back)", highlight=False
        )
    if is_default:
        result_console.print(
            "\n  Try next:\n"
            "    convsmith optimize --save faster        the same, kept in a folder\n"
            "    convsmith train digits_vgg --data digits   train this network yourself\n"
            "    convsmith list                           every network and every convolution\n",
            highlight=False,
        )

# SPDX-License-Identifier: Apache-2.0
"""`convsmith train`: a published network trained on labelled images."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convsmith.cli.options import Json, Quiet, Seed, print_json, progress_console, result_console

if TYPE_CHECKING:
    from convsmith.training import Epoch


def run(
    model: Annotated[str, typer.Argument(help="A name from `convsmith list`.")],
    data: Annotated[
        str, typer.Option(help="digits, a folder of images, or an .npz with x and y.")
    ] = "digits",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = 64,
    lr: Annotated[float, typer.Option(help="The largest step; the schedule falls to zero.")] = 4e-3,
    num_classes: Annotated[int | None, typer.Option(help="Outputs of the network.")] = None,
    in_channels: Annotated[int | None, typer.Option(help="Channels of an image.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="File to write the weights to (.safetensors).")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network and measure it on images it has not seen."""
    from convsmith.errors import ArgumentError
    from convsmith.training import train_network

    if save is not None and save.exists():
        raise ArgumentError(f"--save {save}: this file exists; nothing is overwritten")

    def say(epoch: "Epoch") -> None:
        if not quiet:
            progress_console.print(
                f"epoch {epoch.number:3} of {epoch.epochs}   loss {epoch.loss:.4f}", highlight=False
            )

    trained = train_network(
        model,
        data,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        progress=say,
        num_classes=num_classes,
        in_channels=in_channels,
    )
    if save is not None:
        trained.save(save)
    report = {
        "model": model,
        "held_out_accuracy": trained.result.held_out_accuracy,
        "seconds": trained.result.seconds,
        "settings": trained.settings,
        "saved": None if save is None else str(save),
    }
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: Mapping[str, Any]) -> None:
    result_console.print(
        f"{report['model']} on {report['settings']['data']}: {report['held_out_accuracy']:.2%} "
        f"right of the images held out, after {report['seconds']:.0f} s",
        highlight=False,
    )
    if report["saved"]:
        result_console.print(f"saved: {report['saved']}", highlight=False)

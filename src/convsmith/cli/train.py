# SPDX-License-Identifier: Apache-2.0
"""`convsmith train`: a published network trained on real data."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convsmith.cli.options import Json, Quiet, print_json, progress_console, result_console

if TYPE_CHECKING:
    from convsmith.training import Epoch, Step, TrainedNetwork


Model = Annotated[str, typer.Argument(help="A name from `convsmith list`.")]
Data = Annotated[
    str,
    typer.Option(
        help="digits, mnist, fashion_mnist, cifar10, membrane, camvid, set14, faces, "
        "moving_digits; a folder of images, beside one of label maps for segmentation, or with "
        "COCO's boxes in an annotations.json; or an .npz with x and y."
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder of the data sets; else CONVSMITH_DATA, else ../shared/data."),
]
NumClasses = Annotated[int | None, typer.Option(help="Outputs of the network.")]
InChannels = Annotated[int | None, typer.Option(help="Channels of an image.")]
Width = Annotated[float | None, typer.Option(help="Factor on the channels of every layer.")]
Size = Annotated[int | None, typer.Option(help="Side of an example in pixels.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with.")]
Run = Annotated[
    Path | None,
    typer.Option("--run", help="Folder of checkpoint and curves; the same command continues it."),
]
Save = Annotated[Path | None, typer.Option(help="File to write the weights to (.safetensors).")]

# The recipe, by the names of its fields: what is not given is as the data's own recipe has it.
Epochs = Annotated[int | None, typer.Option(help="Passes over the training images.")]
BatchSize = Annotated[int | None, typer.Option(help="Images a step.")]
Optimizer = Annotated[str | None, typer.Option(help="adamw or sgd.")]
Lr = Annotated[float | None, typer.Option(help="The largest step; it falls to zero.")]
Momentum = Annotated[float | None, typer.Option(help="Of sgd.")]
WeightDecay = Annotated[float | None, typer.Option(help="Share taken off the weights, times lr.")]
Schedule = Annotated[str | None, typer.Option(help="one_cycle, or cosine with a warm-up.")]
Warmup = Annotated[float | None, typer.Option(help="Share of all steps in which cosine rises.")]
Smoothing = Annotated[float | None, typer.Option(help="Share of a target spread over classes.")]
Shift = Annotated[int | None, typer.Option(help="Pixels that an image moves at most.")]
Flip = Annotated[bool | None, typer.Option("--flip/--no-flip", help="Mirror images at random.")]
Precision = Annotated[str | None, typer.Option(help="fp32, bf16 or fp16.")]
Ema = Annotated[float | None, typer.Option(help="Decay of the average of the weights; 0: none.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]


def run(
    context: typer.Context,
    model: Model,
    data: Data = "digits",
    data_root: DataRoot = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    optimizer: Optimizer = None,
    lr: Lr = None,
    momentum: Momentum = None,
    weight_decay: WeightDecay = None,
    schedule: Schedule = None,
    warmup: Warmup = None,
    label_smoothing: Smoothing = None,
    shift: Shift = None,
    flip: Flip = None,
    precision: Precision = None,
    ema: Ema = None,
    seed: Seed = None,
    num_classes: NumClasses = None,
    in_channels: InChannels = None,
    width: Width = None,
    size: Size = None,
    device: Device = "cpu",
    threads: Threads = 1,
    folder: Run = None,
    save: Save = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a network and measure it on what it has not seen."""
    from convsmith.errors import ArgumentError
    from convsmith.training import Recipe, train_network

    if save is not None and save.exists():
        raise ArgumentError(f"--save {save}: this file exists; nothing is overwritten")
    changes = {field.name: context.params.get(field.name) for field in fields(Recipe)}
    with _stopped(folder), _progress(quiet) as (on_epoch, on_step):
        trained = train_network(
            model,
            data,
            {name: value for name, value in changes.items() if value is not None},
            data_root=data_root,
            size=size,
            device=device,
            threads=threads,
            folder=folder,
            on_epoch=on_epoch,
            on_step=on_step,
            **{name: context.params[name] for name in ("num_classes", "in_channels", "width")},
        )
    if trained.rank == 0:  # the first process speaks for all
        _tell(trained, save, as_json)


def _tell(trained: "TrainedNetwork", save: Path | None, as_json: bool) -> None:
    if save is not None:
        trained.save(save)
    report = {
        "model": trained.model.recipe.network,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        **trained.result.measures,
        "seconds": trained.result.seconds,
        "settings": trained.settings,
        "saved": None if save is None else str(save),
    }
    if as_json:
        print_json(report)
        return
    measures = (f"{n.replace('_', ' ')} {v:.4g}" for n, v in trained.result.measures.items())
    result_console.print(
        f"{report['model']} on {trained.settings['data']}: {', '.join(measures)}, after "
        f"{trained.result.seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
    if save is not None:
        result_console.print(f"saved: {save}", highlight=False)


@contextmanager
def _stopped(folder: Path | None) -> Iterator[None]:
    """What an interrupted training leaves behind."""
    try:
        yield
    except KeyboardInterrupt:
        left = "without --run, nothing is kept"
        if folder is not None:
            left = f"the same command goes on from {folder}"
        progress_console.print(f"stopped: {left}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None


@contextmanager
def _progress(quiet: bool) -> Iterator[tuple[Any, Any]]:
    """What is shown while a network learns: a bar on a terminal, a line an epoch everywhere."""
    columns = (BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    shown = not quiet and progress_console.is_terminal
    with Progress(*columns, console=progress_console, disable=not shown) as bar:
        task = bar.add_task("")

        def say_step(step: "Step") -> None:
            words = f"step {step.number} of {step.steps}   loss {step.loss:.4f}"
            bar.update(task, total=step.steps, completed=step.number, description=words)

        def say_epoch(epoch: "Epoch") -> None:
            if not quiet:
                words = f"epoch {epoch.number:3} of {epoch.epochs}   loss {epoch.loss:.4f}"
                progress_console.print(words, highlight=False)

        yield say_epoch, say_step

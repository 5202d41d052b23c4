# SPDX-License-Identifier: Apache-2.0
"""`convsmith analyze`: what every layer of a network is, costs and sees."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convsmith.cli import subject
from convsmith.cli.options import (
    Json,
    Model,
    Quiet,
    Seed,
    Weights,
    print_json,
    progress_console,
    result_console,
)
from convsmith.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

    from convsmith.report import Pictures

_MOST_IMAGES = 8  # each takes a dozen backward passes


def run(
    model: Model = None,
    against: Annotated[
        str | None, typer.Option(help="A second MODEL, to be set beside the first.")
    ] = None,
    weights: Weights = None,
    shapes: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="N,C,H,W", help="The shape of an input; one for each."),
    ] = None,
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
        Path | None,
        typer.Option(help="A picture for the page: what outputs see on it, its feature maps."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Images to measure on what outputs really listen to: a folder or an .npz.",
            exists=True,
        ),
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
        is_one = html is not None and against is None
        more = tuple(subject.shape_of(shape) for shape in (shapes or [])[1:])
        look = _Look(measure=measure, pictures=is_one, image=image, images=images, more=more)
        shape = shapes[0] if shapes else None
        first, pictures = look.at(subject.find(model, weights, shape, seed))
        second = look.at(subject.find(against, None, shape, seed))[0] if against else None
    if html is not None:
        page = (
            report.analyses_page(first, second)
            if second
            else report.analysis_page(first, image, pictures)
        )
        html.write_text(page, encoding="utf-8")
    if as_json:
        print_json({"analysis": first, "against": second} if second else first)
    else:
        _show(first, second, depth)


def _show(first: dict[str, Any], second: dict[str, Any] | None, depth: int | None) -> None:
    from convsmith import report

    result_console.print(f"\n[bold]{first['model']}[/bold]", highlight=False)
    both = report.analyses(first, second) if second else report.analysis(first, depth=depth)
    result_console.print(both)


def _check_page(html: Path | None, image: Path | None, against: str | None) -> None:
    """Before the work begins: a page is possible, and nothing else is asked of it."""
    if image is not None and html is None:
        raise ArgumentError(f"--image {image}: the picture is for a page; give --html FILE too")
    if image is not None and against is not None:
        raise ArgumentError(
            f"--image {image}: it is drawn on the page of one network; leave out --against "
            f"{against}, or the picture"
        )
    if html is not None and not html.absolute().parent.is_dir():
        raise ArgumentError(f"--html {html}: there is no folder {html.parent}; make it first")


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How a network is looked at; `more` are the shapes of its inputs but the first."""

    measure: bool
    pictures: bool
    image: Path | None
    images: Path | None
    more: tuple[tuple[int, ...], ...] = ()

    def at(self, found: subject.Subject) -> tuple[dict[str, Any], Mapping[int, Pictures]]:
        """The analysis as plain data, and the pictures of its layers."""
        from convsmith.analysis import analyze

        remarks = list(found.remarks)
        done = analyze(
            found.model,
            [found.shape, *self.more],
            measure=self.measure,
            images=self._inputs(found, remarks),
            pictures=self.pictures,
        )
        data = done.to_json()
        data["model"] = found.name
        data["notes"] += remarks
        return data, done.pictures

    def _inputs(self, found: subject.Subject, remarks: list[str]) -> Tensor | None:
        """The picture first, then some of the images, as the model takes them."""
        import torch

        given = [_prepared(self.image, found, remarks)] if self.image else []
        if self.images is not None:
            given.append(subject.labelled(found, self.images, most=_MOST_IMAGES)[0])
        tensors = [tensor for tensor in given if tensor is not None]
        if len({tensor.shape[1:] for tensor in tensors}) > 1:
            raise ArgumentError(
                f"--images {self.images}: this model prepares them as {tuple(tensors[1].shape[1:])}"
                f", and --input is {found.shape}; leave out --images, --image or --input"
            )
        return torch.cat(tensors) if tensors else None


def _prepared(image: Path, found: subject.Subject, remarks: list[str]) -> Tensor | None:
    """The picture as the page shows it and the model takes it; None where it takes no picture."""
    from PIL import Image, UnidentifiedImageError

    from convsmith.models import Preprocess
    from convsmith.report import fitted

    if len(found.shape) != 4 or found.shape[1] not in (1, 3):
        remarks.append("feature maps are left out: the model's input is no picture")
        return None
    grey = found.shape[1] == 1
    steps = found.preprocess
    if steps is None or steps.channels != found.shape[1]:
        remarks.append(
            "the picture is given as numbers from 0 to 1: this model does not say how images are "
            "prepared"
        )
        mean, std = ((number,) * found.shape[1] for number in (0.0, 1.0))
        steps = Preprocess(size=1, mean=mean, std=std, scale=255, colour="L" if grey else "RGB")
    try:
        with Image.open(image) as opened:
            return steps.at_own_size(fitted(opened, found.shape[3], found.shape[2]))[None]
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ArgumentError(f"--image {image}: {error}; give a picture, a PNG or JPEG") from None

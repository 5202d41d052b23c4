# SPDX-License-Identifier: Apache-2.0
"""`convsmith scan`: a network over an image of any size, tile by tile, equal to the whole."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from convsmith.cli import subject
from convsmith.cli.options import Json, Model, Quiet, Seed, Shape, Weights, print_json
from convsmith.cli.scan_progress import ScanView, say
from convsmith.errors import ArgumentError, ScanError

if TYPE_CHECKING:
    from convsmith.scanning import ScanResult
    from convsmith.scanning.sinks import Store

Image = Annotated[
    Path | None, typer.Argument(metavar="IMAGE", help="TIFF, PNG, JPEG, .npy, Zarr, a folder.")
]
Out = Annotated[
    Path | None, typer.Option(help="The folder to write to, or to go on with, as Zarr.")
]
Width = Annotated[
    float | None,
    typer.Option(help="Factor on its channels, where it is listed and its weights do not say."),
]
Output = Annotated[
    Literal["scores", "probabilities", "labels", "topk"],
    typer.Option(help="What is kept of the network's scores."),
]
K = Annotated[int, typer.Option("-k", min=1, help="Of topk, how many.")]
Promise = Annotated[
    Literal["fcn", "patch"],
    typer.Option(help="The sliding network on the whole image, or the classifier on every crop."),
]
Stride = Annotated[
    int | None, typer.Option(min=1, help="Pixels between answers [the network's own].")
]
TwoPass = Annotated[
    bool,
    typer.Option("--two-pass", help="First measure what layers want to know of the whole image."),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="What each process may take, as in 2GiB [a quarter of the machine's]."
    ),
]
Axes = Annotated[
    str | None, typer.Option(help="The order of the axes, as in HWC, where the image says none.")
]
Channels = Annotated[
    str | None, typer.Option(metavar="0,1,2", help="Which channels of the image to read.")
]
Classes = Annotated[
    Path | None, typer.Option(help="A text file with a class name a line.", exists=True)
]
AllowNan = Annotated[bool, typer.Option("--allow-nan", help="Let NaN pixels pass.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Read tiles that are done again; redo damaged ones.")
]
Workers = Annotated[int, typer.Option(min=0, help="Local processes under Dask [none].")]
Dask = Annotated[str | None, typer.Option(metavar="URL", help="A Dask scheduler, tcp://host:8786.")]
Export = Annotated[
    list[Path] | None,
    typer.Option(help="Also write .tif, .npy or a picture, .png or .jpg; repeatable."),
]
Of = Annotated[str | None, typer.Option(help="The class that a picture shows, by number or name.")]

_LISTED = 20  # reasons, and tiles of each; a broken image may fail a million
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def run(
    model: Model = None,
    image: Image = None,
    out: Out = None,
    weights: Weights = None,
    shape: Shape = None,
    width: Width = None,
    output: Output = "scores",
    k: K = 5,
    promise: Promise = "fcn",
    output_stride: Stride = None,
    two_pass: TwoPass = False,
    memory: Memory = None,
    axes: Axes = None,
    channels: Channels = None,
    classes: Classes = None,
    allow_nan: AllowNan = False,
    workers: Workers = 0,
    dask: Dask = None,
    verify: Verify = False,
    export: Export = None,
    of: Of = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a network over an image of any size, tile by tile, in bounded memory.

    The same command goes on where an earlier one ended. Without a MODEL and an IMAGE: a page of
    handwritten digits that nobody trained on, read by a small network that comes along; or with
    --out and --export alone, more files from a scan that is done.
    """
    options = {
        "output": output,
        "k": k,
        "promise": promise,
        "output_stride": output_stride,
        "two_pass": two_pass,
        "memory": _bytes(memory) if memory is not None else None,
        "nan": "allow" if allow_nan else "error",
        "workers": workers,
        "dask": dask,
        "verify": verify,
    }
    if model is None and image is None and out is not None and export:
        _say_exports(out, export, of, as_json=as_json, quiet=quiet)
        return
    if model is None and image is None:
        from convsmith.cli import digits_page

        digits_page.show(out or Path("digits-scan"), seed=seed, as_json=as_json, quiet=quiet)
        return
    if image is None or out is None:
        raise ArgumentError(
            "scan: give MODEL, IMAGE and --out FOLDER; without a model and an image, a page of "
            "digits is read"
        )
    _check_formats(export or [])
    job = _Job(image, axes, channels, out, weights, shape, width, seed, quiet)
    result = job.done(model, options | {"classes": _lines(classes)})
    files = _exported(result.store, export or [], job.source(), of)
    if as_json:
        print_json(result.to_json() | {"exports": files})
    elif not quiet:
        say(f"written: {', '.join([str(result.store.folder), *files])}")


@dataclass(frozen=True)
class _Job:
    """What is scanned, and where to."""

    image: Path
    axes: str | None
    channels: str | None
    out: Path
    weights: Path | None
    shape: str | None
    width: float | None
    seed: int
    quiet: bool

    def source(self) -> Any:
        from convsmith.scanning import open_source

        try:
            wanted = [int(number) for number in self.channels.split(",")] if self.channels else None
        except ValueError:
            raise ArgumentError(
                f"--channels {self.channels}: give numbers from 0, such as 0,1,2"
            ) from None
        return open_source(self.image, axes=self.axes, channels=wanted)

    def done(self, model: str | None, options: dict[str, Any]) -> ScanResult:
        """Scan, and show how far it is."""
        from convsmith.scanning import scan

        source = self.source()
        with ScanView(quiet=self.quiet) as view, redirect_stdout(sys.stderr):
            found = subject.find(model, self.weights, self.shape, self.seed, self.width)
            for remark in found.remarks:
                view.say(remark)
            steps = found.preprocess.to_json() if found.preprocess else None
            try:
                return scan(
                    found.model,
                    source,
                    self.out,
                    example=found.example,
                    preprocess=steps,
                    announce=view.announce,
                    progress=view.progress,
                    **options,
                )
            except ScanError as error:
                for line in _reasons(error.failed):
                    view.say(line)
                raise
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    view.say("the disk is full; make room, and the same call goes on from there")
                raise
            except KeyboardInterrupt as stopped:
                view.say(str(stopped) or "stopped")
                raise typer.Exit(130) from None


def _reasons(failed: Mapping[int, str]) -> list[str]:
    """Which tiles failed, a line a reason."""
    tiles: dict[str, list[str]] = {}
    for number, why in failed.items():
        tiles.setdefault(why, []).append(str(number))
    return [
        f"{'tile' if len(some) == 1 else 'tiles'} {', '.join(some[:_LISTED])}"
        f"{f' and {len(some) - _LISTED} more' if len(some) > _LISTED else ''}: {why}"
        for why, some in list(tiles.items())[:_LISTED]
    ]


def _bytes(text: str) -> int:
    """2GiB, 512M or a plain number of bytes; units are powers of 1024."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(?:iB|B)?", text.strip())
    if not found or not float(found[1]):
        raise ArgumentError(f"--memory {text}: give a size such as 2GiB, 512MiB or 100000000")
    return int(float(found[1]) * _UNITS[found[2]])


def _lines(path: Path | None) -> list[str] | None:
    return path.read_text(encoding="utf-8").splitlines() if path else None


def _check_formats(files: Sequence[Path]) -> None:
    """Before the work, not after it."""
    from convsmith.scanning.sinks.exports import format_of

    for file in files:
        format_of(file)


def _exported(result: Store | Path, files: Sequence[Path], image: Any, of: str | None) -> list[str]:
    from convsmith.scanning import export

    shown = int(of) if of is not None and of.isdecimal() else of
    return [str(export(result, file, image=image, of=shown)) for file in files]


def _say_exports(
    out: Path, files: Sequence[Path], of: str | None, *, as_json: bool, quiet: bool
) -> None:
    """Export what an earlier scan wrote, without its network."""
    written = _exported(out, files, None, of)
    if as_json:
        print_json({"folder": str(out), "exports": written})
    elif not quiet:
        say(f"written: {', '.join(written)}")

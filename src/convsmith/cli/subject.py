# SPDX-License-Identifier: Apache-2.0
"""What MODEL, --weights and --input mean: the network a command works on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convsmith.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from convsmith.models import Preprocess

DEFAULT = "digits_vgg"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network, the shape of an input that it takes, how its images are prepared (None: nobody
    said), and what the reader of a result must know about it.
    """

    name: str
    model: nn.Module
    shape: tuple[int, ...]
    preprocess: Preprocess | None
    remarks: tuple[str, ...] = ()

    @cached_property
    def example(self) -> Tensor:
        """Random numbers of that shape.

        Raises:
            ArgumentError: if memory cannot hold them.
        """
        import torch

        try:
            return torch.randn(self.shape)
        except RuntimeError as error:
            words = ",".join(map(str, self.shape))
            raise ArgumentError(f"--input {words}: {error}; give a smaller one") from None


def find(
    model: str | None,
    weights: Path | None,
    shape: str | None,
    seed: int,
    width: float | None = None,
) -> Subject:
    """The network a command was given: a listed name, built of that width, a saved folder or
    package.module:callable.

    Raises:
        ArgumentError: if it is none of these, or an option does not fit its kind.
    """
    import torch

    from convsmith import models

    torch.manual_seed(seed)
    name = model or DEFAULT
    # A folder that happens to be called like a network does not hide it; ./name means the folder.
    is_own = name not in models.NETWORKS and (Path(name).is_dir() or ":" in name)
    if is_own and width is not None:
        raise ArgumentError(
            f"--width {width}: MODEL {name} has the width it was built with; networks of "
            "`convsmith list` are built of any"
        )
    if is_own:
        read = _saved if Path(name).is_dir() else _imported
        return read(name, weights, shape)
    return _listed(name, weights, shape, width)


def labelled(subject: Subject, path: Path, most: int | None = None) -> tuple[Tensor, Tensor]:
    """What --images names, as the network takes it, with class numbers; the first `most` of them.

    Raises:
        ArgumentError: if nobody said how the network's images are prepared.
    """
    from convsmith.training import load_images

    if subject.preprocess is None:
        raise ArgumentError(
            f"--images {path}: this model does not say how its images are prepared; "
            "give it a `preprocess` attribute (convsmith.models.Preprocess)"
        )
    images = load_images(path, subject.preprocess)
    return images.batch(range(len(images) if most is None else min(most, len(images))))


def _listed(name: str, weights: Path | None, shape: str | None, width: float | None) -> Subject:
    from convsmith import models

    stored = weights or ("embedded" if models.find(name).embedded else None)
    model = models.create(name, weights=stored, width=width)
    natural = (1, *models.find(name).shape_of(model.preprocess))
    return Subject(
        name=name,
        model=model,
        shape=shape_of(shape, natural),
        preprocess=model.preprocess,
        remarks=() if stored else ("the weights are random: none were given",),
    )


def _saved(folder: str, weights: Path | None, shape: str | None) -> Subject:
    from convsmith.capture import load
    from convsmith.models import Preprocess

    if weights is not None:
        raise ArgumentError(
            f"MODEL {folder}: a saved folder has its weights; leave out --weights {weights}"
        )
    model: Any = load(folder)
    steps = model.about.get("preprocess")
    return Subject(
        name=folder,
        model=model,
        shape=shape_of(shape, tuple(model.about.get("input_shape", ()))),
        preprocess=Preprocess.from_json(steps) if steps else None,
    )


def _imported(path: str, weights: Path | None, shape: str | None) -> Subject:
    module_name, _, attribute = path.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        build = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(
            f"MODEL {path}: {error}; give package.module:callable, importable from this folder"
        ) from None
    try:
        model = build()
    except Exception as error:  # code that is not ours raises what it likes
        raise ArgumentError(
            f"MODEL {path}: calling it raised {type(error).__name__}: {error}; it is called "
            "without arguments and returns a torch.nn.Module"
        ) from error
    if weights is not None:
        _read_into(model, weights)
    return Subject(
        name=path,
        model=model,
        shape=shape_of(shape, ()),
        preprocess=getattr(model, "preprocess", None),
    )


def _read_into(model: nn.Module, weights: Path) -> None:
    """Weights of a network that is not ours: its own state_dict, by name."""
    from convsmith.models import read_state

    try:
        model.load_state_dict(read_state(weights))
    except RuntimeError as error:
        raise ArgumentError(f"--weights {weights} do not fit: {error}") from None


def shape_of(given: str | None, natural: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The sizes that --input names; without it those that are natural to the network.

    Raises:
        ArgumentError: if they are no sizes, or nobody said any.
    """
    if given is None and not natural:
        raise ArgumentError(
            "--input: nobody said what this model takes; give its shape, for example 1,3,224,224"
        )
    try:
        sizes = natural if given is None else tuple(int(size) for size in given.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ArgumentError(f"--input {given}: it is no shape; give sizes like 1,3,224,224")
    return sizes

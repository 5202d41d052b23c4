# SPDX-License-Identifier: Apache-2.0
"""Training a published network by its name, from first weights to saved ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from convsmith.errors import ArgumentError
from convsmith.models import Model, Preprocess, create, find, save_weights
from convsmith.training.board import board
from convsmith.training.checkpoint import Checkpoints
from convsmith.training.data import TrainingData
from convsmith.training.datasets.registry import training_data
from convsmith.training.distributed import World, joined
from convsmith.training.loop import Step, TrainingResult, train
from convsmith.training.recipe import Recipe
from convsmith.training.state import Epoch


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained model, what came of its training, and how it was trained."""

    model: Model
    result: TrainingResult
    settings: dict[str, Any]
    verdict: str  # the measure to quote
    rank: int = 0  # of this process among those that trained together

    def save(self, path: str | Path) -> None:
        """Write `path` (.safetensors) and a .json beside it; neither is overwritten."""
        measures = {name: round(value, 4) for name, value in self.result.measures.items()}
        save_weights(self.model, Path(path), training=self.settings, **measures)


def train_network(
    name: str,
    data: str | Path = "digits",
    recipe: Mapping[str, Any] | None = None,
    *,
    data_root: str | Path | None = None,
    size: int | None = None,
    device: str = "cpu",
    threads: int = 1,
    folder: str | Path | None = None,
    seconds: float = 60.0,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
    **options: Any,
) -> TrainedNetwork:
    """Create a network with first weights drawn from the seed, and train it. See `train`.

    Args:
        data: A data set by its name, or what `training_data` reads.
        recipe: What differs from the data's own `Recipe`, by name: {"epochs": 3}.
        size: Side of an example in pixels, where it is not the network's own.
        device: "cpu" or "cuda".
        threads: More are faster for large networks; another number sums in another order, so that
            the weights differ in their last bits at first, and more as training goes on.
        folder: Where the training is written at least every `seconds`, and continued from when the
            same call is made again; curves for TensorBoard go there too.
        options: What `create` takes: num_classes, in_channels, width, ...

    Raises:
        ArgumentError: if a name or number is unknown or does not fit.
        FormatError: if the data is damaged.
    """
    changes = dict(recipe or {})
    seed = changes.get("seed", 0)
    options = {key: value for key, value in options.items() if value is not None}
    with torch.random.fork_rng([]), _threads(threads), joined(device) as where:
        preprocess = _preprocess(name, size, options)
        images = training_data(
            data, preprocess, root=data_root, seed=seed, num_classes=options.get("num_classes")
        )
        _require_task(name, data, images)
        torch.manual_seed(seed)
        model = create(name, **_side(name, size), **{**images.options, **options}).to(where)
        model.preprocess = preprocess
        if size is not None:
            _require_size(model, size)
        chosen = replace(images.recipe, **changes)
        settings = {
            "data": Path(data).name,
            "images": len(images.train),
            **asdict(chosen),
            "threads": threads,
            "processes": World.current().size,
            "device": where.type,
        }
        result = _train(model, images, chosen, settings, folder, seconds, (on_epoch, on_step))
        rank = World.current().rank
    return TrainedNetwork(
        model=model.cpu(),
        result=result,
        settings={**settings, "torch": torch.__version__},
        verdict=images.task.verdict,
        rank=rank,
    )


def _preprocess(name: str, size: int | None, options: Mapping[str, Any]) -> Preprocess:
    published = find(name).preprocess
    preprocess = published.for_channels(options.get("in_channels", published.channels))
    return preprocess if size is None else replace(preprocess, size=size)


def _side(name: str, size: int | None) -> dict[str, Any]:
    """For networks that are built for one size of images: VGG-16 with its first linear layer."""
    known = "image_size" in signature(find(name).build).parameters
    return {"image_size": size} if known and size is not None else {}


def _require_task(name: str, data: str | Path, found: TrainingData) -> None:
    task = find(name).task
    if task != found.task.name:
        raise ArgumentError(
            f"train: {name} is for {task}, data {data} for {found.task.name}; convsmith list shows "
            f"what each network is for"
        )
    frames, shown = find(name).frames, found.held_out.batch([0])[0].ndim
    if (frames is not None) != (shown == 5):
        wants = "images" if frames is None else f"clips of {frames} frames"
        raise ArgumentError(
            f"train: {name} is for {wants}, data {data} has {'clips' if shown == 5 else 'images'}; "
            f"convsmith list shows what each network reads"
        )


def _require_size(model: Model, size: int) -> None:
    example = torch.zeros(1, *find(model.recipe.network).shape_of(model.preprocess))
    try:
        with torch.inference_mode():
            model(example.to(next(model.parameters()).device))
    except RuntimeError as error:
        raise ArgumentError(
            f"train: {model.recipe.network} takes no images of {size} x {size} pixels ({error}); "
            f"leave out size {size}"
        ) from None


def _train(
    model: Model,
    data: TrainingData,
    recipe: Recipe,
    settings: Mapping[str, Any],
    folder: str | Path | None,
    seconds: float,
    told: tuple[Callable[[Epoch], None] | None, Callable[[Step], None] | None],
) -> TrainingResult:
    on_epoch, on_step = told
    if folder is None:
        return train(model, data, recipe, on_epoch=on_epoch, on_step=on_step)
    whole = {
        **settings,
        "network": model.recipe.network,
        "options": dict(model.recipe.options),
        "preprocess": model.preprocess.to_json(),
    }
    with board(folder) if World.current().rank == 0 else nullcontext() as curves:
        result = train(
            model,
            data,
            recipe,
            checkpoints=Checkpoints(folder, whole, seconds),
            on_epoch=_both(on_epoch, None if curves is None else curves.epoch),
            on_step=_both(on_step, None if curves is None else curves.step),
        )
        if curves is not None:
            curves.measures(result.measures)
    return result


def _both(first: Callable[[Any], None] | None, second: Callable[[Any], None] | None) -> Any:
    return lambda event: [call(event) for call in (first, second) if call is not None]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

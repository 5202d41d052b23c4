# SPDX-License-Identifier: Apache-2.0
"""VGG-FCN on photos of streets: from stride 32, 16 and 8.

    python examples/street.py [--quick] [--data-root FOLDER]

No published weights of it are at hand, so it is trained here, on ten images of CamVid, a sixteenth
as wide as published: 32s from first weights, 16s from those of 32s, 8s from those of 16s, as its
authors did. About six minutes, on one of the cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from recording import Options, options, record, say, tiles
from torch import Tensor

from convsmith.models import Model, create, find
from convsmith.training import TrainingData, train, training_data
from convsmith.training.tasks.task import IGNORED

STRIDES, SIZE, WIDTH = (32, 16, 8), 96, 0.0625
EPOCHS = {32: 200, 16: 60, 8: 60}
# Of the eleven classes, from sky to cyclist, and of pixels that have none.
COLOURS = np.array(
    [
        *((128, 180, 230), (150, 60, 50), (200, 180, 140), (90, 90, 100), (220, 110, 170)),
        *((60, 130, 50), (230, 200, 40), (120, 100, 60), (40, 60, 170), (230, 90, 30)),
        *((20, 160, 160), (0, 0, 0)),
    ],
    np.uint8,
)


def learnt(stride: int, before: Model | None, data: TrainingData, given: Options) -> Any:
    """A network, from the weights of the coarser one if there is one, and its measures."""
    torch.manual_seed(0)
    model = create(f"vgg_fcn{stride}s", num_classes=11, width=WIDTH)
    if before is not None:
        own = model.state_dict()
        kept = {k: w for k, w in before.state_dict().items() if own[k].shape == w.shape}
        model.load_state_dict(kept, strict=False)
    epochs = 1 if given.quick else EPOCHS[stride]
    measures = train(model, data, replace(data.recipe, epochs=epochs, lr=2e-3)).measures
    say(f"{stride}s: {measures}")
    return model, {"stride": stride, **measures}


def coloured(labels: Tensor) -> np.ndarray:
    """Class numbers (h, w) as colours."""
    return COLOURS[torch.where(labels == IGNORED, 11, labels).numpy()]


def picture(models: Sequence[Model], data: TrainingData) -> str:
    """Photos that were held out, what is right, and what each network says."""
    steps = models[0].preprocess
    rows: list[list[np.ndarray]] = [[] for _ in range(2 + len(models))]
    for i in range(len(data.held_out)):
        x, y = data.held_out.batch([i])
        mean, std = (torch.tensor(three).view(3, 1, 1) for three in (steps.mean, steps.std))
        photo = ((x[0] * std + mean) * steps.scale).clamp(0, 255).byte()
        rows[0].append(photo.permute(1, 2, 0).numpy())
        rows[1].append(coloured(y[0]))
        with torch.inference_mode():
            for row, model in zip(rows[2:], models, strict=True):
                row.append(coloured(model(x)[0].argmax(0)))
    names = ["photo", "right", *(f"{stride}s" for stride in STRIDES)]
    return tiles(rows, names, [""] * len(rows[0]), side=240)


def main() -> None:
    """Train one after the other, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    steps = replace(find("vgg_fcn32s").preprocess, size=SIZE)
    data = training_data("camvid", steps, root=given.data_root)
    models: list[Model] = []
    rows = []
    for stride in STRIDES:
        model, row = learnt(stride, models[-1] if models else None, data, given)
        models.append(model)
        rows.append(row)
    record(
        "street",
        given,
        title="VGG-FCN from stride 32, 16 and 8",
        words="CamVid, ten images to train on and three held out, at their own size of 480 x 360. "
        f"Channels times {WIDTH}; one seed. Each network starts with the weights of the one "
        "above it, so that part of what it gains is that it has learnt longer.",
        columns=["network", "mean intersection over union", "pixels right"],
        rows=[
            [
                f"vgg_fcn{row['stride']}s",
                f"{row['held_out_miou']:.3f}",
                f"{row['held_out_pixel_accuracy']:.1%}",
            ]
            for row in rows
        ],
        data=rows,
        picture=picture(models, data),
    )


if __name__ == "__main__":
    main()

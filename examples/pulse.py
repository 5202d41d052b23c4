# SPDX-License-Identifier: Apache-2.0
"""The heart rate from films of a face, and the mask that finds the skin without being told.

    python examples/pulse.py [--quick]

`pulse_mask` at a quarter of its width, with its mask and without, learns from films that the
package draws: a face wanders before a wall of nearly its colour, and so does a decoy of the same
shape, which flickers as a pulse does, at another rate. The skin itself is never used in training;
afterwards the mask is compared with it. About eight minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from recording import Options, options, record, say, tiles
from torch import Tensor

from convsmith.models import create
from convsmith.models.video.pulse_mask import PulseMask
from convsmith.training import train, training_data
from convsmith.training.datasets.faces import film

SHOWN, FRAME = 6, 40  # films in the picture, and which frame of each
FIRST_HELD_OUT, EPOCHS = 160, 4


def network(mask: bool) -> PulseMask:
    """A quarter of the published width."""
    torch.manual_seed(0)
    model = create("pulse_mask", width=0.25, mask=mask)
    assert isinstance(model, PulseMask)
    return model


def learnt(mask: bool, given: Options) -> tuple[PulseMask, dict[str, Any]]:
    """A trained network and its measures."""
    model = network(mask)
    data = training_data("faces", model.preprocess)
    if given.quick:
        data = replace(data, train=data.train.part(range(4)), held_out=data.held_out.part(range(2)))
    recipe = replace(data.recipe, epochs=1 if given.quick else EPOCHS)
    result = train(model, data, recipe, on_epoch=lambda epoch: say(f"{epoch}"))
    name = "with the mask" if mask else "without"
    parameters = sum(p.numel() for p in model.parameters())
    return model, {"network": name, "parameters": parameters, **result.measures}


def mask_of(model: PulseMask, frames: np.ndarray) -> Tensor:
    """The fine mask of a film, over its frames but the last: (frames - 1, 34, 34)."""
    steps = model.preprocess
    x = torch.from_numpy(frames.astype(np.float32) / steps.scale).permute(3, 0, 1, 2)
    with torch.inference_mode():
        model(x[None])
    return model.masks[0][:, 0]


def overlap(mask: Tensor, skin: np.ndarray) -> float:
    """Intersection over union of the skin and as many of the mask's highest pixels."""
    inner = torch.from_numpy(skin[:-1, 1:-1, 1:-1]) > 0.5  # the mask's convolution pads once only
    found = []
    for level, true in zip(mask, inner, strict=True):
        least = level.flatten().sort(descending=True).values[int(true.sum()) - 1]
        chosen = level >= least
        found.append(float((chosen & true).sum() / (chosen | true).sum()))
    return float(np.mean(found))


def chance(skin: np.ndarray) -> float:
    """The overlap of as many pixels drawn by lot: p² n / (2 p - p²) n, with p the share of skin."""
    share = float((skin[:-1, 1:-1, 1:-1] > 0.5).mean())
    return share / (2 - share)


def picture(films: Sequence[Any], masks: Sequence[Tensor]) -> str:
    """A frame of each film, its skin, and the mask."""
    skins = [np.rint(one.skin[FRAME] * 255).astype(np.uint8) for one in films]
    shown = [mask[FRAME] - mask[FRAME].min() for mask in masks]
    levels = [F.pad(mask / mask.max() * 255, (1,) * 4).byte().numpy() for mask in shown]
    grey = [[level[..., None].repeat(3, 2) for level in row] for row in (skins, levels)]
    rates = [f"{one.rate:.0f} beats a minute" for one in films]
    frames = [one.frames[FRAME] for one in films]
    return tiles([frames, *grey], ["frame", "skin", "mask"], rates)


def main() -> None:
    """Train with and without, measure, write."""
    given = options(__doc__)
    torch.set_num_threads(1)
    (model, first), (_, second) = (learnt(mask, given) for mask in (True, False))
    number = 2 if given.quick else 32
    films = [film(FIRST_HELD_OUT + i, model.preprocess.size) for i in range(number)]
    masks = [mask_of(model, shown.frames) for shown in films]
    pairs = list(zip(masks, films, strict=True))
    first["overlap"] = float(np.mean([overlap(mask, shown.skin) for mask, shown in pairs]))
    first["chance"] = float(np.mean([chance(shown.skin) for shown in films]))
    rows = [first, second]
    record(
        "pulse",
        given,
        title="The pulse of a face, with a mask and without",
        words=f"{number} films held out, heart rates of 50 to 140 beats a minute. Beside the face "
        "goes a decoy of its shape in the colour of the wall, which flickers as strongly, in the "
        "colours of a pulse, at another rate: only the look of skin tells the two apart. The "
        "correlation is of the pulse that is found and the true one, change by change. The overlap "
        "is of the skin and as many of the mask's highest pixels, intersection over union; pixels "
        f"drawn by lot would reach {first['chance']:.2f}. Nobody told the network what skin is. "
        "In the picture, black is a mask's lowest value and white its highest.",
        columns=["network", "parameters", "error, beats a minute", "correlation", "overlap"],
        rows=[
            [
                row["network"],
                f"{row['parameters']:,}",
                f"{row['held_out_error_bpm']:.2f}",
                f"{row['held_out_correlation']:.3f}",
                f"{row['overlap']:.2f}" if "overlap" in row else "",
            ]
            for row in rows
        ],
        data=rows,
        picture=picture(films[:SHOWN], masks[:SHOWN]),
    )


if __name__ == "__main__":
    main()

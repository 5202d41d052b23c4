# SPDX-License-Identifier: Apache-2.0
"""Films of a face, drawn here, in which the heart beats at a known rate.

    skin  = light(t) · colour(place) · (1 + depth · strength(channel) · pulse(t))
    decoy = light(t) · colour(place) · (1 + depth · strength(channel) · rival(t))
    wall  = light(t) · colour(place)

A face-shaped region wanders before a wall of nearly its colour, and beside it a decoy of the same
shape and size, which has the colour of the wall. It flickers as a pulse does: as strongly, in the
same colours, and at a rate of its own that a heart could have. Neither the place in the image tells
the two apart, nor anything about how they change; only their look does. The light on all drifts;
every pixel has noise of its own and is rounded to 256 levels. The pulse is about one level, less
than the noise: only many pixels together show it, and only if they are skin.

Source: the strengths of the three colours are those of Verkruysse, Svaasand and Nelson, Remote
plethysmographic imaging using ambient light, 2008: most in green.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convsmith.models import Preprocess
from convsmith.training.data import TrainingData
from convsmith.training.recipe import Recipe
from convsmith.training.tasks import Pulse

FRAMES, FRAMES_PER_SECOND = 128, 16.0
RATES = (50.0, 140.0)  # beats a minute
_TRAIN, _HELD_OUT = 160, 32
_SKIN, _WALL = np.array([190.0, 140.0, 115.0]), np.array([183.0, 148.0, 125.0])
_STRENGTH = np.array([0.35, 1.0, 0.55])
_DEPTH, _NOISE = 0.008, 2.0  # of the light that is returned; grey levels
_APART = 15.0  # beats a minute between the two rates, at least
_DISTANCE = 0.45  # of the image's side between face and decoy, at least


@dataclass(frozen=True)
class Film:
    """One film: frames (t, size, size, 3) of 0 to 255, skin and decoy (t, size, size) of 0 to 1,
    pulse (t,) and its rate in beats a minute.
    """

    frames: np.ndarray
    skin: np.ndarray
    decoy: np.ndarray
    pulse: np.ndarray
    rate: float


def film(seed: int, size: int, frames: int = FRAMES) -> Film:
    """The film of a seed, always the same.

    >>> found = film(3, size=16, frames=8)
    >>> found.frames.shape, found.skin.shape, RATES[0] <= found.rate <= RATES[1]
    ((8, 16, 16, 3), (8, 16, 16), True)
    """
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames) / FRAMES_PER_SECOND
    rate = rng.uniform(*RATES)
    pulse = _beating(rng, seconds, rate)
    rival = _beating(rng, seconds, _another(rng, rate))
    centres = _centres(rng)
    skin, decoy = (_face(rng, seconds, size, centre) for centre in centres)
    decoy = decoy * (1 - skin)  # where they meet, the face is in front
    wall = _WALL * rng.uniform(0.9, 1.1)
    colour = wall + _texture(rng, size, 6.0)
    for region, mean in ((decoy, wall), (skin, _SKIN * rng.uniform(0.9, 1.1))):
        colour = colour + region[..., None] * (mean + _texture(rng, size, 6.0) - colour)
    changing = np.ones_like(colour)
    for region, wave in ((skin, pulse), (decoy, rival)):
        changing += region[..., None] * _DEPTH * _STRENGTH * wave[:, None, None, None]
    light = _light(rng, seconds)[:, None, None, None]
    noise = rng.normal(0, _NOISE, (frames, size, size, 3))
    levels = np.clip(np.rint(light * colour * changing + noise), 0, 255)
    return Film(levels.astype(np.uint8), skin, decoy, pulse, float(rate))


def _beating(rng: np.random.Generator, seconds: np.ndarray, rate: float) -> np.ndarray:
    """A second harmonic makes the rise of a beat steeper than its fall."""
    beats = 2 * np.pi * (rate / 60 * seconds + rng.uniform())
    return np.sin(beats) + 0.25 * np.sin(2 * beats + 0.8)


def _another(rng: np.random.Generator, rate: float) -> float:
    """A rate of the same range, `_APART` away."""
    low, high = RATES
    return low + (rate - low + rng.uniform(_APART, high - low - _APART)) % (high - low)


def _centres(rng: np.random.Generator) -> np.ndarray:
    """Of the face and of the decoy, (2, 2)."""
    while True:
        centres = rng.uniform(0.2, 0.8, (2, 2))
        if np.linalg.norm(centres[0] - centres[1]) >= _DISTANCE:
            return centres


def _face(
    rng: np.random.Generator, seconds: np.ndarray, size: int, centre: np.ndarray
) -> np.ndarray:
    """An ellipse with a soft edge that wanders about its centre."""
    speed, phase = rng.uniform(0.1, 0.4, 2), rng.uniform(0, 2 * np.pi, 2)
    centre = centre + 0.06 * np.sin(2 * np.pi * speed * seconds[:, None] + phase)
    places = (np.arange(size) + 0.5) / size
    down = (places[None, :, None] - centre[:, 0, None, None]) / 0.28
    across = (places[None, None, :] - centre[:, 1, None, None]) / 0.21
    inside = (1 - np.sqrt(down**2 + across**2)) * 0.25 * size  # in pixels, about
    return np.clip(inside + 0.5, 0, 1)


def _texture(rng: np.random.Generator, size: int, levels: float) -> np.ndarray:
    """Smooth patches of light and dark."""
    coarse = rng.normal(0, levels, (6, 6, 1))
    at = np.linspace(0, 5, size)
    rows = np.stack([np.interp(at, np.arange(6), column) for column in coarse[..., 0].T], 1)
    return np.stack([np.interp(at, np.arange(6), row) for row in rows])[..., None]


def _light(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """A drift over the film and a slow wave, up to a tenth together."""
    drift = rng.uniform(-0.08, 0.08) * seconds / seconds[-1]
    wave = 0.02 * np.sin(2 * np.pi * (rng.uniform(0.05, 0.3) * seconds + rng.uniform()))
    return 1 + drift + wave


@dataclass(frozen=True, kw_only=True)
class FilmSet:
    """Films by their seeds. A batch is `(x, y)`: x (n, 3, frames, size, size), y (n, frames - 1):
    how the pulse changes from frame to frame.
    """

    seeds: Sequence[int]
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.seeds)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The films of these indices, drawn."""
        steps, x, y = self.preprocess, [], []
        for i in indices:
            found = film(self.seeds[i], steps.size)
            pixels = found.frames.astype(np.float32) / np.float32(steps.scale)
            mean, std = (np.array(three, np.float32) for three in (steps.mean, steps.std))
            values = (pixels - mean) / std
            x.append(torch.from_numpy(values.transpose(3, 0, 1, 2)))
            y.append(torch.from_numpy(np.diff(found.pulse).astype(np.float32)))
        return torch.stack(x), torch.stack(y)

    def part(self, indices: Sequence[int]) -> FilmSet:
        """The films of these indices as a set of their own."""
        return replace(self, seeds=[self.seeds[i] for i in indices])


def load(preprocess: Preprocess, root: str | Path | None = None) -> TrainingData:
    """160 films to train on and 32 held out, of `preprocess.size` pixels a side and 8 seconds."""
    return TrainingData(
        train=FilmSet(seeds=range(_TRAIN), preprocess=preprocess),
        held_out=FilmSet(seeds=range(_TRAIN, _TRAIN + _HELD_OUT), preprocess=preprocess),
        task=Pulse(FRAMES_PER_SECOND),
        recipe=Recipe(batch_size=4, lr=2e-3, weight_decay=0.0),
    )

# SPDX-License-Identifier: Apache-2.0
"""Recipe: how a network is trained, every number of it.

Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, arXiv:1711.05101; Smith
and Topin, Super-Convergence, 2018, arXiv:1708.07120; Loshchilov and Hutter, SGDR, 2017,
arXiv:1608.03983 (the cosine); Goyal et al., Accurate, Large Minibatch SGD, 2017, arXiv:1706.02677
(the warm-up); Szegedy et al., 2016, arXiv:1512.00567 (label smoothing).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from convsmith.errors import ArgumentError

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["one_cycle", "cosine"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    The step of "cosine" is lr · t / warm-up at first, then lr · (1 + cos(π u)) / 2, with u from 0
    to 1 over what is left. "one_cycle" rises to lr over the first third and falls to 0.

    Args:
        momentum: Of SGD; AdamW has its own, which "one_cycle" moves against the step.
        weight_decay: Taken from every parameter at each step, times the step.
        warmup: Share of all steps in which "cosine" rises.
        label_smoothing: Share of a target spread over all classes.
        shift: Images are moved by up to this many pixels each way, whenever they are shown.
        flip: Images are mirrored left to right, every other time.
        precision: "bf16" and "fp16" multiply in 16 bits where torch's autocast deems it safe.
        ema: The average of the weights that is kept: average = d · average + (1 - d) · weights
            after step t, with d = min(ema, t / (9 + t)); 0 keeps none. A network with an average
            ends with it.
        seed: Of the order of the images, their shifts, and dropout.

    Raises:
        ArgumentError: if a number is outside its range, or a word not among its choices.

    >>> Recipe(epochs=3).lr
    0.004
    """

    epochs: int = 20
    batch_size: int = 64
    optimizer: Optimizer = "adamw"
    lr: float = 4e-3
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.05
    schedule: Schedule = "one_cycle"
    warmup: float = 0.05
    label_smoothing: float = 0.0
    shift: int = 2
    flip: bool = False
    precision: Precision = "fp32"
    ema: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.lr < math.inf or self.shift < 0:
            raise ArgumentError(
                f"train: epochs {self.epochs}, batch_size {self.batch_size} and lr {self.lr} are "
                f"positive, shift {self.shift} is not negative"
            )
        shares = (self.momentum, self.warmup, self.label_smoothing, self.ema)
        if not all(0 <= share < 1 for share in shares) or not 0 <= self.weight_decay < math.inf:
            raise ArgumentError(
                f"train: momentum {self.momentum}, warmup {self.warmup}, label_smoothing "
                f"{self.label_smoothing} and ema {self.ema} are at least 0 and less than 1, "
                f"weight_decay {self.weight_decay} is not negative"
            )
        for word, choices in (
            (self.optimizer, get_args(Optimizer)),
            (self.schedule, get_args(Schedule)),
            (self.precision, get_args(Precision)),
        ):
            if word not in choices:
                raise ArgumentError(f"train: {word!r} is none of {', '.join(choices)}")

    def optimizer_of(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a model's parameters."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(model.parameters(), self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            model.parameters(),
            self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            weight_decay=self.weight_decay,
        )

    def schedule_of(self, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
        """What sets the size of each of `steps` steps."""
        if self.schedule == "one_cycle":
            cycles = self.optimizer == "adamw" or self.momentum > 0
            return OneCycleLR(optimizer, self.lr, total_steps=max(steps, 2), cycle_momentum=cycles)
        rise = round(self.warmup * steps)

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2

        return LambdaLR(optimizer, factor)

    @property
    def autocast(self) -> torch.dtype | None:
        """The 16-bit type to multiply in; None for 32 bits."""
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

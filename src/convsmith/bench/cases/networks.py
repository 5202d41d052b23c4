# SPDX-License-Identifier: Apache-2.0
"""Whole networks at their published sizes; their rehearsals are narrower."""

from functools import partial

from convsmith import models
from convsmith.bench.case import Case

_NAMES = ["mobilenet_v1", "mobilenet_v2", "resnet50", "resnext50_32x4d", "densenet121", "vgg16"]
_NAMES += ["resnet20", "lenet5"]
_OF_FIXED_WIDTH = {"lenet5"}


def networks() -> list[Case]:
    """One row for each network."""
    return [_case(name) for name in _NAMES]


def _case(name: str) -> Case:
    def case(smaller: Case | None = None, **options: float) -> Case:
        return Case(
            name=name,
            group="networks",
            build=partial(models.create, name, **options),  # type: ignore[arg-type]
            input_shape=(1, *models.find(name).input_shape),
            smaller=smaller,
        )

    return case(case() if name in _OF_FIXED_WIDTH else case(width=0.125))

# SPDX-License-Identifier: Apache-2.0
"""The contract: what registers, what is refused, and who claims a geometry."""

import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import convsmith.convs  # noqa: F401  (registers the families)
from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.family import Family, Sample, families, grouped_picture, recognize, register
from convsmith.geometry import Geometry


@pytest.fixture
def family() -> Family:
    return families()["standard"]


def test_a_name_registers_once(family: Family) -> None:
    before = families()
    message = "register: family 'standard' is registered already; names are unique"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        register(family)
    assert families() == before


def test_the_families_given_out_are_a_copy() -> None:
    families().clear()
    assert families()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cone": None},
            "family standard: cone is None; it is None if and only if unsupported['cone'] says why "
            "(unsupported: {})",
        ),
        (
            {"picture": None, "unsupported": {"cone": "none"}},
            "unsupported: {'cone': 'none'}",
        ),
        (
            {"unsupported": {"picture": "it has one"}},
            "it is None if and only if unsupported['picture'] says why "
            "(unsupported: {'picture': 'it has one'})",
        ),
        (
            {"layers": {2: nn.Conv2d}},
            "family standard: layers for [2] axes but functions for [1, 2, 3]; each layer has a "
            "functional twin",
        ),
    ],
)
def test_an_inconsistent_family_is_refused(
    family: Family, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        replace(family, **changes)


def test_a_family_may_say_why_it_has_no_cone(family: Family) -> None:
    without = replace(family, cone=None, unsupported={"cone": "its samples move with the data"})
    assert without.unsupported["cone"] == "its samples move with the data"


class Elsewhere(Geometry):
    """A geometry that belongs to nobody."""


def test_a_geometry_nobody_claims_is_refused() -> None:
    stranger = Elsewhere(in_channels=1, out_channels=1, kernel_size=(3,))
    names = re.escape(str(list(families())))
    with pytest.raises(UnsupportedError, match=rf"no registered family claims .*; .* {names}"):
        recognize(stranger)


def test_the_most_specific_family_claims_a_geometry() -> None:
    def claimed(**options: Any) -> str:
        wanted = {"in_channels": 4, "out_channels": 8, "kernel_size": (3, 3)} | options
        return recognize(Geometry(**wanted)).name

    assert claimed() == "standard"
    assert claimed(dilation=(2, 2)) == "dilated"
    assert claimed(groups=2) == "grouped"
    assert claimed(groups=4) == "depthwise"
    assert claimed(kernel_size=(1, 1)) == "pointwise"


def test_the_picture_of_groups() -> None:
    geometry = Geometry(
        in_channels=4,
        out_channels=6,
        groups=2,
        kernel_size=(3, 2),
        padding=((1, 0), (2, 5)),
        dilation=(2, 1),
    )
    picture = grouped_picture(geometry)
    assert picture.channels == ((0, 1),) * 3 + ((2, 3),) * 3
    assert picture.taps == ((-1, 1, 3), (-2, -1))
    same = grouped_picture(Geometry(**(vars(geometry) | {"padding": "same"})))
    assert same.taps == ((0, 2, 4), (0, 1))


def test_a_sample_gives_all_inputs_of_its_layer() -> None:
    x = torch.ones(1, 2, 4)
    alone = Sample(name="alone", layer=nn.Identity, input_shape=(1, 2, 4))
    assert alone.inputs(nn.Identity(), x) == (x,)
    with_more = replace(alone, further_inputs=lambda layer, x: (x.shape[-1], layer))
    layer = nn.Identity()
    assert with_more.inputs(layer, x) == (x, 4, layer)

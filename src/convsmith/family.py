# SPDX-License-Identifier: Apache-2.0
"""Family: what one kind of convolution tells the rest of convsmith about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from convsmith.errors import ArgumentError, UnsupportedError
from convsmith.geometry import Cone, Geometry, Macs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One small case of a family, shared by tests, docs and bench."""

    name: str
    layer: Callable[..., nn.Module]  # layer(dtype=..., device=...)
    input_shape: tuple[int, ...]
    twin: Callable[..., nn.Module] | None = None  # torch's layer with the same state_dict
    # What `forward` takes after x.
    further_inputs: Callable[[nn.Module, Tensor], tuple[Any, ...]] | None = None

    def inputs(self, layer: nn.Module, x: Tensor) -> tuple[Any, ...]:
        """All that `layer.forward` takes, for a given first input."""
        return (x, *(self.further_inputs(layer, x) if self.further_inputs else ()))


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Data for a drawing: who is joined to whom, and where the taps lie relative to the output."""

    channels: tuple[tuple[int, ...], ...]  # for each output channel, the input channels it reads
    taps: tuple[tuple[int, ...], ...]  # per axis, the offsets of the taps


def grouped_picture(geometry: Geometry) -> Picture:
    """The picture of any convolution whose channels are joined group by group."""
    inputs = geometry.in_channels // geometry.groups
    outputs = geometry.out_channels // geometry.groups
    channels = tuple(
        tuple(range(o // outputs * inputs, (o // outputs + 1) * inputs))
        for o in range(geometry.out_channels)
    )
    befores = (
        [0] * geometry.spatial_axes
        if geometry.padding == "same"
        else [before for before, _ in geometry.padding]
    )
    taps = tuple(
        tuple(r * d - before for r in range(k))
        for k, d, before in zip(geometry.kernel_size, geometry.dilation, befores, strict=True)
    )
    return Picture(channels=channels, taps=taps)


def _output_shape(geometry: Geometry, input_shape: Sequence[int]) -> tuple[int, ...]:
    return geometry.output_shape(input_shape)


def _macs(geometry: Geometry, input_shape: Sequence[int]) -> Macs:
    return geometry.macs(input_shape)


def _cone(geometry: Geometry, input_shape: Sequence[int]) -> tuple[Cone, ...]:
    return geometry.cone(input_shape)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of convolution: what the rest of convsmith asks it.

    Sizes, costs and cones come from the kind's geometry unless given. A field that a kind cannot
    fill is None, and `unsupported` says why.
    """

    name: str
    # Number of spatial axes -> layer (it has a `geometry`), and -> its functional twin.
    layers: Mapping[int, type[nn.Module]]
    ops: Mapping[int, Callable[..., Tensor]]
    # Slow and obvious: each multiplication is one element of a `*` between tensors.
    reference: Callable[..., Tensor]
    # apply(op or reference, layer, *inputs): calls it with the layer's weights and options.
    apply: Callable[..., Tensor]
    recognizes: Callable[[Geometry], bool]
    # Of (geometry, input shape); the cone is one for each spatial axis.
    output_shape: Callable[[Any, Sequence[int]], tuple[int, ...]] = _output_shape
    macs: Callable[[Any, Sequence[int]], Macs] = _macs
    cone: Callable[[Any, Sequence[int]], tuple[Cone, ...]] | None = _cone
    picture: Callable[[Any], Picture] | None = grouped_picture
    # Kernels that differ from place to place: made from the input, or stored. None: one for all.
    kernels_at_places: Literal["made", "stored"] | None = None
    samples: Callable[[], Sequence[Sample]]
    source: str
    unsupported: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("cone", "picture"):
            if (getattr(self, name) is None) != (name in self.unsupported):
                raise ArgumentError(
                    f"family {self.name}: {name} is {getattr(self, name)}; it is None if and only "
                    f"if unsupported[{name!r}] "
                    f"says why (unsupported: {dict(self.unsupported)})"
                )
        if self.layers.keys() != self.ops.keys():
            raise ArgumentError(
                f"family {self.name}: layers for {sorted(self.layers)} axes but functions for "
                f"{sorted(self.ops)}; "
                f"each layer has a functional twin"
            )


_families: dict[str, Family] = {}


def register(family: Family) -> None:
    """Add a family, after all more general ones.

    Raises:
        ArgumentError: if the name is taken.
    """
    if family.name in _families:
        raise ArgumentError(
            f"register: family {family.name!r} is registered already; names are unique"
        )
    _families[family.name] = family


def families() -> dict[str, Family]:
    """Every registered family by name, general ones first: the order of the list in
    `convsmith.convs`.
    """
    return dict(_families)


def recognize(geometry: Geometry) -> Family:
    """The most specific family a geometry belongs to: the last in the list that claims it.

    Raises:
        UnsupportedError: if no family claims it.
    """
    for family in reversed(_families.values()):
        if family.recognizes(geometry):
            return family
    raise UnsupportedError(
        f"recognize: no registered family claims {geometry}; registered are {list(_families)}"
    )

# SPDX-License-Identifier: Apache-2.0
"""What `analyze` answers: plain frozen data, and its JSON.

The JSON (`Analysis.to_json()`, schema version 1; fields may be added within a version):

    format, version   "convsmith analysis", 1
    model             class name of the network
    inputs            [{name, shape, dtype}]
    total             {macs, live_macs, flops, parameters, unused_parameters, weight_bytes,
                      activation_bytes, peak_bytes, norm_elements, elementwise_elements,
                      uncounted}: flops = 2 macs; `uncounted` names the layers whose work is
                      not known and that no sum contains
    cone              of the last layer whose cone ends: like a layer's, with its `layer`; or null
    layers            in the order they run, see `Layer`; shapes are lists, `macs` and `live_macs`
                      null where they cannot be counted
      .cone           null, or {input, axes, whole_map_by}; an axis is {axis, size, stride, a, b,
                      touched, outside}: output j reads inputs [stride j + a, stride j + b];
                      fractions are [numerator, denominator]; `touched` counts the positions
                      that a path really reaches, `outside` is the share of the middle output's
                      cone that lies beyond the image; whole_map_by is null or {layer, why}
      .gridding       of convolutions: one entry for each axis with holes, see `Gridding`
      .effective      null, or {images, half, most}: see `Effective`
      .time           null, or {ms, gflops, roofline_ms, of_roofline}
    machine           null, or {gflops, gb_per_s, threads}: what times are compared with
    findings          [{layer, what, saves_macs, saves_parameters, rewrite, status}]
    notes             sentences about the whole
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from convsmith.geometry import Macs
from convsmith.report import Pictures, analysis_page

FORMAT, VERSION = "convsmith analysis", 1

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Input:
    """One tensor that the network was analysed for."""

    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, kw_only=True)
class WholeMap:
    """Why a cone has no end: the first layer that reads all places, and how."""

    layer: str
    why: str


@dataclass(frozen=True, kw_only=True)
class AxisCone:
    """One axis of a cone: output j reads inputs [stride j + a, stride j + b].

    `size` is the receptive field, `touched` how many of its positions any path reaches (fewer:
    gridding), `outside` the share of the middle output's cone that lies beyond the image.
    """

    axis: int
    size: int
    stride: Fraction
    a: Fraction
    b: Fraction
    touched: int
    outside: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        exact = {k: [v.numerator, v.denominator] for k, v in self._fractions().items()}
        return {**asdict(self), **exact}

    def _fractions(self) -> dict[str, Fraction]:
        return {"stride": self.stride, "a": self.a, "b": self.b}


@dataclass(frozen=True, kw_only=True)
class Gridding:
    """Holes in a layer's cone along one axis: positions inside it that no path touches.

    Attributes:
        axis: Of the input.
        size: The cone's, holes included.
        touched: The positions that are read, from the cone's first; the verdict.
        paths: Of each of them, its share of all paths.
        caused_by: The layer whose input still had no holes.
        dilations: Of the convolutions from there to this layer.
        max_distance: Of the HDC rule for them, M_2, where their kernels are equal: a rule of
            thumb that wants it within the kernel (`passes_rule`).
        closing: Dilations of the same reach, or the nearest below, that leave no hole.
    """

    axis: int
    size: int
    touched: tuple[int, ...]
    paths: tuple[float, ...]
    caused_by: str
    dilations: tuple[int, ...]
    max_distance: int | None = None
    passes_rule: bool | None = None
    closing: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LayerCone:
    """What one output of a layer depends on, along each spatial axis of an input.

    `axes` holds what is reached through windows alone; with `whole_map_by` the output depends on
    all places besides. An axis that no window leads to is absent.
    """

    input: str
    axes: tuple[AxisCone, ...]
    whole_map_by: WholeMap | None = None

    @property
    def ends(self) -> bool:
        """Whether the output depends on a bounded part of the input."""
        return self.whole_map_by is None

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {
            "input": self.input,
            "axes": [axis.to_json() for axis in self.axes],
            "whole_map_by": asdict(self.whole_map_by) if self.whole_map_by else None,
        }


@dataclass(frozen=True, kw_only=True)
class Effective:
    """What the middle output of a layer really listens to, measured by gradients on images.

        weight of a place = mean over images of sum over channels |d sum_c y_c / d x|

    `half` and `most` hold, for each spatial axis, the side of the smallest stretch around the
    middle of the cone that has 50 % and 95 % of all weight (Luo et al. 2016). Places that no
    gradient reaches on these images make it smaller than the cone, never larger.
    """

    images: int
    half: Shape
    most: Shape


@dataclass(frozen=True, kw_only=True)
class Time:
    """A layer's measured time beside its roofline, the least that its arithmetic and bytes need on
    this machine; `of_roofline` near 1 is all that can be had, far below it the layer waits.
    """

    ms: float
    gflops: float | None
    roofline_ms: float
    of_roofline: float | None


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator at work, named in the user's own module tree.

    Attributes:
        index: Its place in the order of running.
        name: "layer1.0.conv1", a module's own path where it does one thing, else
            "layer1.0:add": the operator within the module. Unique: a second use has "@2".
        module: The path of the innermost module ("" for the model itself).
        line: The user's line that called it, "net.py:41"; "" where all lines are torch's.
        operator: torch's name of it.
        kind: convolution, linear, product, attention, norm, elementwise, pooling, resize,
            reduction, layout (moves data), or unknown.
        family: The kind of convolution, by recognition of its integers.
        part_of: The family of the library's layer around it, where that is another one.
        inputs, output: Shapes of the tensors it computes on, and of its (first) result.
        options: kernel_size, stride, padding, dilation, groups as far as it has them.
        parameters: Trainable numbers it reads; those that an earlier layer reads too are noted.
        macs: Multiply-accumulates, of all taps and of live ones; None: cannot be counted.
        elements: What norm, elementwise, pooling, resize and reduction work through.
        weight_bytes, input_bytes, output_bytes: What it reads and writes; a view writes nothing.
        intensity: Floating point operations (2 macs) for each of these bytes; None without macs.
        share: Of the total's macs.
        cone, gridding: See their classes.
        effective, time: See their classes; only if they were asked for.
        notes: What the reader must know.
    """

    index: int
    name: str
    module: str
    line: str
    operator: str
    kind: str
    family: str | None = None
    part_of: str | None = None
    inputs: tuple[Shape, ...] = ()
    output: Shape = ()
    options: dict[str, Any] = field(default_factory=dict)
    parameters: int = 0
    macs: Macs | None = None
    elements: int = 0
    weight_bytes: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    intensity: float | None = None
    share: float = 0.0
    cone: LayerCone | None = None
    gridding: tuple[Gridding, ...] = ()
    effective: Effective | None = None
    time: Time | None = None
    notes: tuple[str, ...] = ()

    @property
    def all_macs(self) -> int:
        """Its multiply-accumulates as far as they are known."""
        return self.macs.all if self.macs else 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain |= {
            "macs": self.macs and self.macs.all,
            "live_macs": self.macs and self.macs.live,
            "inputs": [list(shape) for shape in self.inputs],
            "output": list(self.output),
            "cone": self.cone and self.cone.to_json(),
            "gridding": [asdict(axis) for axis in self.gridding],
            "effective": asdict(self.effective) if self.effective else None,
            "time": asdict(self.time) if self.time else None,
            "notes": list(self.notes),
        }
        return plain


# The rewrites that exist, and what does them; every other one is not built yet.
BUILT = {
    "fold_batchnorm": "cs.optimize",
    "linear_to_convolution": "cs.to_fully_convolutional",
    "swap": "cs.swap",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something in a layer that could be cheaper, and the rewrite that makes it so.

    `saves_macs` and `saves_parameters` are what that rewrite would save here.
    """

    layer: str
    what: str
    saves_macs: int
    saves_parameters: int
    rewrite: str

    @property
    def status(self) -> str:
        """What does the rewrite today."""
        done_by = BUILT.get(self.rewrite)
        return f"{done_by} does it" if done_by else "not built yet"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        return {**asdict(self), "status": self.status}


@dataclass(frozen=True, kw_only=True)
class Total:
    """The whole network; `macs` counts convolutions, linear layers, matrix products and attention.

    Norm and elementwise work stand beside it. `parameters` counts every distinct trainable number
    of the model, `unused_parameters` those that no layer reads. `peak_bytes` is the most that
    activations take at once, each freed after its last reader; workspaces of kernels are not in.
    """

    macs: Macs
    parameters: int
    unused_parameters: int
    weight_bytes: int
    activation_bytes: int
    peak_bytes: int
    norm_elements: int
    elementwise_elements: int
    uncounted: tuple[str, ...] = ()

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.macs.all

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        counts = {"macs": self.macs.all, "live_macs": self.macs.live, "flops": self.flops}
        return {**asdict(self), **counts, "uncounted": list(self.uncounted)}


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything known about a network at one input shape."""

    model: str
    inputs: tuple[Input, ...]
    layers: tuple[Layer, ...]
    total: Total
    findings: tuple[Finding, ...] = ()
    machine: dict[str, float] | None = None
    notes: tuple[str, ...] = ()
    pictures: Mapping[int, Pictures] = field(default_factory=dict, repr=False)

    @property
    def cone(self) -> LayerCone | None:
        """The cone of the last layer whose cone ends: the network's receptive field."""
        layer = self.cone_layer
        return layer.cone if layer else None

    @property
    def cone_layer(self) -> Layer | None:
        """The layer that `cone` belongs to, the last that still is a map if any is; None if no
        cone ends.
        """
        ending = [layer for layer in self.layers if layer.cone and layer.cone.ends]
        moving = [x for x in ending if x.cone and all(axis.stride for axis in x.cone.axes)]
        return next(reversed(moving or ending), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`; the schema stands at the top of this file."""
        last = self.cone_layer
        return {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "inputs": [{**asdict(item), "shape": list(item.shape)} for item in self.inputs],
            "total": self.total.to_json(),
            "cone": {**last.cone.to_json(), "layer": last.name} if last and last.cone else None,
            "layers": [layer.to_json() for layer in self.layers],
            "machine": self.machine,
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }

    def to_html(self, path: str | Path, image: str | Path | None = None) -> None:
        """Write one page of HTML that shows all of it, without a network or other files.

        Args:
            path: The file to write.
            image: A picture to draw the cone on, cut and scaled to the shape of the input.

        Raises:
            ArgumentError: if `image` cannot be read, or no input has height and width.
        """
        Path(path).write_text(analysis_page(self.to_json(), image, self.pictures), encoding="utf-8")

# SPDX-License-Identifier: Apache-2.0
"""Times stand where they belong; nothing is said of how long they are."""

import json

import pytest
import torch
from torch import nn

import convsmith as cs
from convsmith.analysis.result import Layer
from convsmith.analysis.roofline import Ceiling
from convsmith.errors import ArgumentError
from convsmith.geometry import Macs


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.table = cs.TableConv2d([(0, 0), (1, 1), (2, 2), (3, 3)], 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        y += x
        return self.table(y.relu()).flatten(1).softmax(-1)


def test_every_layer_has_its_time() -> None:
    model = Block().train()
    before = model.norm.running_mean.clone()
    found = cs.analyze(model, (2, 4, 9, 9), measure=True)
    assert all(layer.time is not None and layer.time.ms > 0 for layer in found.layers)
    assert found.machine is not None
    assert found.machine["gflops"] > 0
    assert model.training
    assert torch.equal(model.norm.running_mean, before)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["layers"][0]["time"]["roofline_ms"] > 0
    plain = cs.analyze(model, (2, 4, 9, 9))
    assert [x.name for x in plain.layers] == [x.name for x in found.layers]
    assert plain.layers[0].time is None
    assert plain.to_json()["machine"] is None


def test_the_roofline_is_the_slower_of_arithmetic_and_bytes() -> None:
    layer = Layer(
        index=0, name="x", module="", line="", operator="conv2d", kind="convolution",
        macs=Macs(5 * 10**8, 0), weight_bytes=10**6, input_bytes=10**6, output_bytes=2 * 10**6,
    )  # fmt: skip
    time = Ceiling(gflops=100, gb_per_s=10, threads=1).time(layer, 20.0)
    assert (time.roofline_ms, time.gflops, time.of_roofline) == (10.0, 50.0, 0.5)
    assert Ceiling(gflops=100, gb_per_s=0.1, threads=1).time(layer, 80.0).roofline_ms == 40.0


def test_our_own_layers_are_timed_too() -> None:
    model = cs.models.create("mobilenet_v1", width=0.25).eval()
    found = cs.analyze(model, (1, 3, 64, 64), measure=True)
    assert all(layer.time for layer in found.layers)
    assert found.notes[0].startswith("times are medians")


class Dice(nn.Module):
    rounds = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Dice.rounds += 1
        return x + 1 if Dice.rounds == 1 else x + 1 + 1


def test_what_cannot_be_measured_says_why() -> None:
    with torch.device("meta"):
        model = nn.Conv2d(3, 4, 3)
    with pytest.raises(ArgumentError, match="weight is on the meta device and has no numbers"):
        cs.analyze(model, (1, 3, 8, 8), measure=True)
    with pytest.raises(ArgumentError, match="Dice ran 2 operators when it was run for real"):
        cs.analyze(Dice().eval(), (1, 3), measure=True)


def test_a_planned_network_is_timed_by_its_own_kernels() -> None:
    model = nn.Sequential(
        nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6()
    )
    planned = cs.optimize(model, torch.zeros(1, 8, 16, 16), timing=False)
    found = cs.analyze(planned.model, (1, 8, 16, 16), measure=True)
    times = {layer.name: layer.time.ms for layer in found.layers if layer.time}
    assert min(times[name] for name in ("0", "2")) > 0
    # What the kernel applies on its way costs nothing of its own.
    assert {ms for name, ms in times.items() if "relu" in name or "hardtanh" in name} == {0}
    assert any("share its time by MACs" in note for note in found.notes)

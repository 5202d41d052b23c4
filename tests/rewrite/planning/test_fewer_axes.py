# SPDX-License-Identifier: Apache-2.0
"""Linear layers and one-axis convolutions in a plan."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import convsmith as cs
from convsmith import native
from convsmith.capture import capture, spell_out
from convsmith.rewrite.planning.places import places

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled core is not built")


class OfSignals(nn.Module):
    """A strided dense layer, a separable block with a residual, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 20, 5, stride=2, padding=2)
        self.deep = nn.Conv1d(20, 20, 3, padding="same", groups=20, dilation=2)
        self.mix = nn.Conv1d(20, 20, 1)
        self.hidden, self.last = nn.Linear(20, 40), nn.Linear(40, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = (x + self.mix(self.deep(x).relu())).relu()
        return self.last(self.hidden(x.sum(2)).relu())


def numbers(*shape: int) -> Tensor:
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(1)).float()


@pytest.fixture
def model() -> nn.Module:
    generator, network = torch.Generator().manual_seed(0), OfSignals()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator))
    return network.eval()


def test_all_of_them_are_places(model: nn.Module) -> None:
    captured = capture(model, numbers(2, 3, 30))
    found = places(captured)
    assert [p.name for p in found] == ["first", "deep", "mix", "hidden", "last"]
    assert [p.axes for p in found] == [1, 1, 1, 0, 0]
    assert [p.stage.geometry.padding for p in found[:2]] == [((0, 0), (2, 2))] * 2


@pytest.mark.parametrize("timing", [True, False])
def test_the_planned_network_is_the_same(model: nn.Module, timing: bool, tmp_path: Path) -> None:
    done = cs.optimize(model, numbers(2, 3, 30), timing=timing)
    if not timing:
        assert done.report.plan is not None
        chosen = {choice.what: choice.kernel for choice in done.report.plan.choices}
        assert chosen["5 3->20 s2, relu"] == "direct"
        assert chosen["linear 40->7"] == "pointwise"
        assert "separable" in chosen.values()
    done.save(tmp_path / "net")
    for network in (done.model, cs.load(tmp_path / "net")):
        for shape in ((2, 3, 30), (1, 3, 17), (5, 3, 64)):
            with torch.no_grad():
                assert torch.equal(network(numbers(*shape)), model(numbers(*shape)))
            assert torch.equal(network(numbers(*shape)), model(numbers(*shape)))


def test_spelling_out_gives_torch_s_operators_back(model: nn.Module) -> None:
    done = cs.optimize(model, numbers(2, 3, 30), timing=False)
    captured = capture(done.model, numbers(2, 3, 30))
    spell_out(captured)
    names = [n.target._opname for n in captured.graph.nodes if n.op == "call_function"]
    assert names.count("conv1d") == 3
    assert names.count("linear") == 2


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Linear(6, 5), (2, 3, 6)), (nn.Conv1d(6, 5, 1), (6, 9))]
)
def test_what_has_other_axes_is_no_place(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """A linear layer over more than rows; a signal without a batch."""
    assert places(capture(layer, torch.ones(shape))) == []

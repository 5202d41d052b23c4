# SPDX-License-Identifier: Apache-2.0
"""What a network computes from its weights at every call, computed once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

import convsmith as cs
from convsmith.capture import capture
from convsmith.rewrite.rules import fold_constants
from convsmith.rewrite.rules.fold_batchnorm import RULE as FOLD_BATCHNORM
from convsmith.rewrite.rules.fold_constants import RULE, _is_made_of_inputs


class Standardized(nn.Conv2d):
    """Weight standardization (Qiao and others 2019, arXiv:1903.10520)."""

    def forward(self, x):
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        std = self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / (std + 1e-5), self.bias)


class Tied(nn.Module):
    """A linear layer by a transposed product, and its weight a second time."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        return F.linear(x @ self.weight, self.weight.t() @ self.weight)


class Spread(nn.Module):
    """A number that becomes a map, and is none to store."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, x):
        return x + self.shift.expand(1, 3, 64, 64)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.ones(3, 8))

    def forward(self, x):
        return x + torch.rand_like(self.shift)


def trained(layer, x):
    """After a few calls, so that its statistics are its own."""
    torch.manual_seed(0)
    for _ in range(3):
        layer(x)
    return layer.eval()


X = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(3))
COMPUTED = {
    "weight_norm": (parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), X),
    "spectral_norm": (trained(parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), X), X),
    "orthogonal": (parametrizations.orthogonal(nn.Linear(8, 4)), X),
    "standardized": (Standardized(3, 4, 3), X),
    "tied": (Tied(), X[:, 0, 0, :5]),
    "connection table": (cs.TableConv2d([(0, 0), (2, 0), (1, 1), (2, 2)], kernel_size=3), X),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_from_weights_is_stored_with_the_same_numbers(name, rewritten):
    model, x = COMPUTED[name]
    with torch.no_grad():
        expected = model.eval()(x)
    result = rewritten(model, x, RULE)
    with torch.no_grad():
        assert torch.equal(result.captured.module(x), expected)
    assert len(result.certificates) >= 1
    assert not result.refused
    constant = [n for n in result.captured.graph.nodes if n.op == "call_function"]
    assert all(any(i.op != "get_attr" for i in n.all_input_nodes) for n in constant)


def test_the_weight_keeps_the_name_that_its_layer_gives_it(rewritten):
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3))).eval()
    result = rewritten(model, X, RULE)
    assert set(dict(result.captured.module.named_parameters())) == {"0.weight", "0.bias"}
    (certificate,) = result.certificates
    assert certificate.what == "weight of 0 computed once, not at every call"
    assert certificate.where == ("0",)


def test_a_batchnorm_finds_the_stored_weight(rewritten):
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    result = rewritten(trained(model.train(), X), X, RULE, FOLD_BATCHNORM)
    assert result.operators == ["conv2d"]
    torch.testing.assert_close(result.captured.module(X), model(X))


def test_a_number_spread_over_a_map_is_left_and_told(rewritten):
    result = rewritten(Spread().eval(), torch.ones(1, 3, 64, 64), RULE)
    assert result.operators == ["expand", "add"]
    (refusal,) = result.refused
    assert refusal.why == ("it would store 12,288 numbers that are computed from 3 at every call")


def test_what_is_drawn_at_random_is_left():
    captured = capture(Noisy().eval(), torch.ones(3, 8))
    assert not any(RULE.match(captured, node) for node in captured.graph.nodes)


def test_optimize_stores_and_plans_a_parametrized_layer():
    model = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU()).eval()
    found = cs.optimize(model, X, timing=False)
    assert [c.rule for c in found.certificates][:1] == ["fold_constants"]
    assert parametrize.is_parametrized(model[0])  # the model itself is as it was
    with torch.no_grad():
        torch.testing.assert_close(found.model(X), model(X))


def test_a_deep_network_of_fixed_sizes_is_passed_over_once(monkeypatch):
    layers = [nn.Conv2d(2, 2, 1) for _ in range(40)]
    captured = capture(nn.Sequential(*layers).eval(), torch.ones(1, 2, 3, 3))
    captured.fix_sizes()
    looked_at = []

    def counted(node):
        looked_at.append(node)
        return _is_made_of_inputs(node)

    monkeypatch.setattr(fold_constants, "_is_made_of_inputs", counted)
    assert not any(RULE.match(captured, node) for node in captured.graph.nodes)
    assert len(looked_at) <= 2 * len(captured.graph.nodes)

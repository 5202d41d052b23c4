# SPDX-License-Identifier: Apache-2.0
"""Rules that are wrong, or wrong at some places only, are rolled back and reported."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from convsmith.capture import weight_of
from convsmith.rewrite.rules import EXACT_RULES
from convsmith.rewrite.rules.fold_batchnorm import RULE


def spoiled(apply_also):
    """The folding rule with something done to the layer afterwards."""

    def apply(captured, site):
        (layer,) = RULE.apply(captured, site)
        apply_also(captured, layer, site)
        return [layer]

    return replace(RULE, name="spoiled", apply=apply)


def chain(length):
    layers = [m for _ in range(length) for m in (nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Tanh())]
    model = nn.Sequential(*layers)
    for module in model:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("relative", [1e-1, 1e-6, 1e-10])
def test_a_slightly_wrong_identity_is_found_in_float64(relative, rewritten):
    def scale(captured, layer, site):
        weight_of(captured, layer.args[1]).data.mul_(1 + relative)

    model, x = chain(2), torch.randn(2, 3, 4, 4)
    result = rewritten(model, x, spoiled(scale))
    assert result.certificates == []
    assert result.operators.count("batch_norm") == 2
    assert [r.why.startswith("rolled back: outputs moved by") for r in result.refused] == [
        True,
        True,
    ]
    assert torch.equal(result.captured.module(x), model(x))


def test_good_places_survive_a_bad_one(rewritten):
    def scale(captured, layer, site):
        if "3" in site.where:
            weight_of(captured, layer.args[1]).data.mul_(1.5)

    model, x = chain(3), torch.randn(2, 3, 4, 4)
    result = rewritten(model, x, spoiled(scale))
    assert [c.where for c in result.certificates] == [("0", "1"), ("6", "7")]
    assert result.operators.count("batch_norm") == 1
    assert [r.where for r in result.refused] == [("4",)]
    torch.testing.assert_close(result.captured.module(x), model(x))


def test_a_rule_that_breaks_the_graph_is_rolled_back(rewritten):
    def reshape(captured, layer, site):
        layer.args = (layer.args[0], layer.args[0], *layer.args[2:])

    model, x = chain(1), torch.randn(2, 3, 4, 4)
    result = rewritten(model, x, spoiled(reshape))
    assert result.certificates == []
    assert "Error" in result.refused[0].why
    assert torch.equal(result.captured.module(x), model(x))


def test_rules_run_until_none_applies(rewritten, integers, whole_numbers):
    # Only when the dropout is gone does the batch-norm meet its layer, and then the layers meet.
    layers = [nn.Linear(3, 9), nn.Dropout(), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 2)]
    model, x = integers(nn.Sequential(*layers)), whole_numbers(4, 3)
    result = rewritten(model, x, *reversed(EXACT_RULES))
    assert result.operators == ["linear"]
    assert [c.rule for c in result.certificates].count("drop_inference_noops") == 2
    assert torch.equal(result.captured.module(x), model(x))
    assert result.refused == []


def test_nan_and_infinity_stay_where_they_are(rewritten):
    model, x = chain(2), torch.randn(2, 3, 4, 4)
    x[0, 0, 1, 2], x[1, 2, 3, 3] = float("nan"), float("inf")
    result = rewritten(model, x, RULE)
    assert len(result.certificates) == 2
    assert torch.equal(result.captured.module(x).isnan(), model(x).isnan())


def test_an_empty_batch_and_zero_weights_are_no_special_case(rewritten):
    model = chain(1)
    nn.init.zeros_(model[0].weight)
    assert len(rewritten(model, torch.zeros(2, 3, 4, 4), RULE).certificates) == 1

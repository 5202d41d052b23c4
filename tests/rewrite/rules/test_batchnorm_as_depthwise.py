# SPDX-License-Identifier: Apache-2.0
"""A batch-norm that no layer can take in front of a pointwise convolution."""

import pytest
import torch
from torch import nn

from convsmith import native
from convsmith.capture import capture
from convsmith.rewrite import optimize
from convsmith.rewrite.rules import EXACT_RULES
from convsmith.rewrite.rules.batchnorm_as_depthwise import RULE

aten = torch.ops.aten


def test_example_is_rewritten_as_documented_and_bit_equal(rewritten):
    model, x = RULE.example.make()
    model.eval()
    result = rewritten(model, x, RULE)
    targets = [n.target for n in capture(model, x).graph.nodes if n.op == "call_function"]
    names = [str(target).split(".")[1] for target in targets]
    assert [name for name in names if not name.startswith("sym_size")] == RULE.example.before
    assert result.operators == RULE.example.after
    assert torch.equal(result.captured.module(x), model(x))
    (certificate,) = result.certificates
    assert certificate.what == "batch-norm 0 as a depthwise convolution in front of 2"
    assert (certificate.kind, certificate.max_abs_error) == ("exact", 0)
    assert certificate.after.macs - certificate.before.macs == x.numel()
    assert RULE.promise.count(".") == 1


@pytest.mark.parametrize(
    "layers",
    [
        (nn.ReLU(), nn.Conv2d(4, 5, 3)),
        (nn.ReLU(), nn.Conv2d(4, 5, 1, stride=2)),
        (nn.ReLU(), nn.Conv2d(4, 5, 1, padding=1)),
        (nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2)),
        (nn.Sigmoid(), nn.Conv2d(4, 5, 1)),
        (nn.Conv2d(4, 5, 1),),  # folds
        (),
    ],
    ids=["3x3", "strided", "padded", "grouped", "sigmoid", "foldable", "at the end"],
)
def test_where_it_gains_nothing_it_is_left(layers):
    captured = capture(nn.Sequential(nn.BatchNorm2d(4), *layers).eval(), torch.ones(2, 4, 6, 6))
    assert [RULE.match(captured, node) for node in captured.graph.nodes] == [None] * len(
        captured.graph.nodes
    )


def test_rows_and_signals_are_left():
    layers = (nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 5, 1))
    captured = capture(nn.Sequential(*layers).eval(), torch.ones(2, 4, 6))
    assert not any(RULE.match(captured, node) for node in captured.graph.nodes)


class Dense(nn.Module):
    """Two layers of DenseNet: each reads what all before it gave."""

    def __init__(self, affine=True):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, affine=affine) for c in (16, 24))
        self.mixes = nn.ModuleList(nn.Conv2d(c, 8, 1, bias=False) for c in (16, 24))

    def forward(self, x):
        for norm, mix in zip(self.norms, self.mixes, strict=True):
            x = torch.cat([x, mix(torch.relu(norm(x)))], 1)
        return x


@pytest.mark.skipif(not native.available(), reason="the compiled core is not built")
@pytest.mark.parametrize("affine", [True, False])
def test_the_block_is_one_step_of_the_plan(affine, integers, whole_numbers):
    model, x = integers(Dense(affine)), whole_numbers(2, 16, 7, 5)
    with torch.no_grad():
        for mix in model.mixes:
            mix.weight.clamp_(-1, 1)  # the second reads sums that stay exact
    done = optimize(model, x, timing=False)
    assert {c.rule for c in done.certificates} == {RULE.name}
    assert [c.kernel for c in done.report.plan.choices] == ["separable"] * 2
    assert torch.equal(done.model(x), model(x))


def test_only_what_kernels_may_compute_is_changed(integers, whole_numbers, monkeypatch):
    model, x = integers(Dense()), whole_numbers(2, 16, 7, 5)
    assert not optimize(model.double(), x.double(), timing=False).certificates
    monkeypatch.setattr(native.core, "_core", None)
    assert not optimize(model.float(), x, timing=False).certificates
    assert RULE not in EXACT_RULES

# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from convsmith.rewrite.rules.merge_pointwise import RULE

MERGED = [
    (nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 1), (2, 2, 5, 4)),
    (nn.Conv2d(2, 8, 1, stride=2), nn.Conv2d(8, 3, 1, stride=3, bias=False), (2, 2, 15, 14)),
    (nn.Conv2d(2, 8, 1, padding=1, stride=2), nn.Conv2d(8, 3, 1, stride=2), (2, 2, 7, 6)),
    (
        nn.Conv2d(2, 8, 1, padding=1, stride=2, bias=False),
        nn.Conv2d(8, 3, 1, stride=2, padding=2),
        (2, 2, 7, 6),
    ),
    (nn.Conv2d(2, 8, 1, padding="same"), nn.Conv2d(8, 3, 1, padding="valid"), (2, 2, 5, 4)),
    (nn.Conv1d(2, 8, 1), nn.Conv1d(8, 3, 1), (2, 2, 5)),
    (nn.Conv3d(2, 8, 1, bias=False), nn.Conv3d(8, 3, 1, bias=False), (2, 2, 3, 4, 5)),
    (nn.Linear(2, 8), nn.Linear(8, 3), (4, 2)),
    (nn.Linear(2, 8, bias=False), nn.Linear(8, 3), (4, 5, 2)),
]


@pytest.mark.parametrize(("first", "second", "shape"), MERGED)
def test_merges_bit_equal_on_small_integers(
    first, second, shape, rewritten, integers, whole_numbers
):
    model, x = integers(nn.Sequential(first, second)), whole_numbers(*shape)
    result = rewritten(model, x, RULE)
    assert len(result.operators) == 1
    assert torch.equal(result.captured.module(x), model(x))
    (certificate,) = result.certificates
    assert certificate.after.macs < certificate.before.macs
    assert certificate.after.macs == model(x).numel() * 2


def test_three_become_one_when_every_step_costs_less(rewritten, integers, whole_numbers):
    model = integers(nn.Sequential(nn.Linear(3, 9), nn.Linear(9, 7), nn.Linear(7, 2)))
    x = whole_numbers(4, 3)
    result = rewritten(model, x, RULE)
    assert result.operators == ["linear"]
    assert torch.equal(result.captured.module(x), model(x))


def test_random_data_stays_within_the_rounding_bound(rewritten):
    # before: gamma_(i+1) and gamma_(m+1) in a row; after: one rounding of B A and gamma_(i+2); all
    # on |B| (|A| |x| + |a|) + |b|
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 32), nn.Linear(32, 4)), torch.randn(9, 6)
    merged = rewritten(model, x, RULE).captured.module
    first, second = (layer.double() for layer in (model[0], model[1]))
    with torch.no_grad():
        inner = x.double().abs() @ first.weight.abs().T + first.bias.abs()
        magnitude = inner @ second.weight.abs().T + second.bias.abs()
        before = model.float()(x).double()
    n = (6 + 1) + (32 + 1) + 1 + (6 + 2)
    bound = n * torch.finfo(torch.float32).eps / 2 * 1.001 * magnitude
    assert ((before - merged(x).double()).abs() <= bound).all()


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        y = self.a(x)
        return self.b(y), y


REFUSED = [
    (Branch(), "the output of a is used elsewhere too"),
    (
        nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 1, padding=1)),
        "1 pads with 0, where 0 would have left",
    ),
    (
        nn.Sequential(nn.Conv2d(2, 1, 1), nn.Conv2d(1, 8, 1)),
        "as one layer would cost 640 macs, as two 400",
    ),
]


@pytest.mark.parametrize(("model", "why"), REFUSED)
def test_refuses_with_a_reason(model, why, rewritten, integers, whole_numbers):
    model, x = integers(model), whole_numbers(2, 2, 5, 4)
    result = rewritten(model, x, RULE)
    assert result.certificates == []
    assert [why in refusal.why for refusal in result.refused] == [True]
    before, after = model(x), result.captured.module(x)
    pairs = zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]
    assert all(torch.equal(p, q) for p, q in pairs)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 1)),
        nn.Sequential(nn.Conv2d(2, 8, 1, groups=2), nn.Conv2d(8, 3, 1)),
        nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 3)),
    ],
)
def test_leaves_other_pairs_alone(model, rewritten, integers, whole_numbers):
    result = rewritten(integers(model), whole_numbers(2, 2, 5, 4), RULE)
    assert (result.certificates, result.refused) == ([], [])

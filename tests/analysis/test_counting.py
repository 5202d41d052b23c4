# SPDX-License-Identifier: Apache-2.0
"""Counts against brute force and against torch's counter wherever that one is right."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import convsmith as cs
from convsmith.family import Family, Sample, families

CASES = [(family, sample) for family in families().values() for sample in family.samples()]


@pytest.mark.parametrize(
    ("family", "sample"), CASES, ids=[f"{family.name}: {sample.name}" for family, sample in CASES]
)
def test_every_family_is_counted_and_recognised(family: Family, sample: Sample) -> None:
    """`family.macs` equals a counted loop: tests/test_every_family.py."""
    layer = sample.layer().eval()
    found = cs.analyze(layer, list(sample.inputs(layer, torch.zeros(sample.input_shape))))
    assert found.total.macs == family.macs(layer.geometry, sample.input_shape)
    assert family.name in {name for row in found.layers for name in (row.family, row.part_of)}
    assert found.total.parameters == sum(p.numel() for p in layer.parameters())
    assert not found.total.uncounted


class Call(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *args):
        return self.function(self, *args)


def naive_involution(self, x):
    """The paper's own code: unfold, multiply, sum; 16 channels, 7x7, one group."""
    n, c, h, w = x.shape
    kernels = self.span(self.reduce(x)).view(n, 1, 49, h, w).unsqueeze(2)
    patches = F.unfold(x, 7, padding=3).view(n, 1, c, 49, h, w)
    return (kernels * patches).sum(dim=3).view(n, c, h, w)


SHARED = nn.Conv2d(8, 8, 3, padding=1)
IMAGE = (1, 8, 16, 16)
# The table of facts: what other counters get wrong, and the truth.
WRONG_ELSEWHERE = {
    # others: 4 times too much
    "transposed": (nn.ConvTranspose2d(8, 16, 4, stride=2, padding=1), IMAGE, 8 * 256 * 16 * 16),
    # others: 0
    "depthwise transposed": (nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8), IMAGE, 8 * 256 * 16),
    "same": (nn.Conv2d(8, 16, 3, padding="same"), IMAGE, 16 * 256 * 8 * 9),
    "functional": (
        Call(lambda self, x: F.conv2d(x, self.w), w=nn.Parameter(torch.zeros(16, 8, 3, 3))),
        IMAGE,
        16 * 196 * 8 * 9,
    ),
    # others: a quarter
    "involution": (
        Call(naive_involution, reduce=nn.Conv2d(16, 4, 1), span=nn.Conv2d(4, 49, 1)),
        (1, 16, 16, 16),
        256 * (16 * 4 + 4 * 49 + 16 * 49),
    ),
    "shared": (nn.Sequential(SHARED, nn.ReLU(), SHARED), IMAGE, 2 * 8 * 256 * 8 * 9),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_ELSEWHERE)
def test_where_others_are_wrong(name):
    model, shape, macs = WRONG_ELSEWHERE[name]
    assert cs.analyze(model, shape).total.macs.all == macs


def test_live_macs_of_unfolded_patches():
    involution = WRONG_ELSEWHERE["involution"][0]
    total = cs.analyze(involution, (1, 16, 16, 16)).total
    reach = sum(0 <= i + r - 3 < 16 for i in range(16) for r in range(7))
    assert total.macs.live == 256 * (16 * 4 + 4 * 49) + 16 * reach**2


def conv_by_patches(self, x):
    patches = F.unfold(x, 3, padding=2, dilation=2)
    return (self.w.view(16, -1) @ patches).view(x.shape[0], 16, *x.shape[2:])


def linear_on_patches(self, x):
    return self.mix(F.unfold(x, 2, stride=2).transpose(1, 2))


def filter_at_each_place(self, x):
    return (F.unfold(x, 3, padding=1).view(1, 8, 9, 256) * self.kernels).sum(2)


def involution_by_einsum(self, x):
    """Two groups; every einsum letter but the taps' and the groups' channels stays."""
    n, c, h, w = x.shape
    kernels = self.span(self.reduce(x)).view(n, 2, 49, h, w)
    patches = F.unfold(x, 7, padding=3).view(n, 2, c // 2, 49, h, w)
    return torch.einsum("ngkhw, ngckhw -> ngchw", kernels, patches).reshape(n, c, h, w)


def conv_by_einsum(self, x):
    return torch.einsum("nkp,ko->nop", F.unfold(x, 3, padding=1), self.kernels)


def local_by_einsum(self, x):
    return torch.einsum("nkp,okp->nop", F.unfold(x, 3, padding=1), self.kernels)


WEIGHT = nn.Parameter(torch.zeros(16, 8, 3, 3))
SPELT_OUT = {
    "involution": WRONG_ELSEWHERE["involution"][:2],
    "involution by einsum": (
        Call(involution_by_einsum, reduce=nn.Conv2d(16, 4, 1), span=nn.Conv2d(4, 98, 1)),
        (1, 16, 16, 16),
    ),
    "standard by einsum": (
        Call(conv_by_einsum, kernels=nn.Parameter(torch.zeros(72, 4))),
        IMAGE,
    ),
    "locally connected by einsum": (
        Call(local_by_einsum, kernels=nn.Parameter(torch.zeros(4, 72, 256))),
        IMAGE,
    ),
    "dilated": (Call(conv_by_patches, w=WEIGHT), IMAGE),
    "standard": (Call(linear_on_patches, mix=nn.Linear(32, 4)), IMAGE),
    "locally connected": (
        Call(filter_at_each_place, kernels=nn.Parameter(torch.zeros(8, 9, 256))),
        IMAGE,
    ),
}


@pytest.mark.parametrize("way", SPELT_OUT)
def test_convolutions_that_are_spelt_out_are_recognised(way):
    model, shape = SPELT_OUT[way]
    last = [row for row in cs.analyze(model, shape).layers if row.kind == "convolution"][-1]
    assert last.family == way.removesuffix(" by einsum")


def test_other_products_with_patches_are_no_convolutions():
    def attended(self, x):
        patches = F.unfold(x, 3, padding=1)
        return patches.transpose(1, 2) @ patches

    def scaled(self, x):
        return (F.unfold(x, 3, padding=1) * self.scale).sum(1)

    def routed(self, x):  # kernels made from the input, one for all places
        kernels = F.adaptive_avg_pool2d(x, 3).flatten(1)
        return torch.einsum("nk,nkp->np", kernels, F.unfold(x, 3, padding=1))

    gain = nn.Parameter(torch.zeros(72, 1))
    for model in (Call(attended), Call(scaled, scale=gain), Call(routed)):
        assert {row.family for row in cs.analyze(model, IMAGE).layers} == {None}


X, Y = (2, 3, 4), (2, 4, 5)
PRODUCTS = {
    "matmul": (lambda self, x, y: x @ y, [X, Y]),
    "bmm": (lambda self, x, y: torch.bmm(x, y), [X, Y]),
    "baddbmm": (lambda self, x, y: torch.baddbmm(torch.zeros(2, 3, 5), x, y), [X, Y]),
    "mm": (lambda self, x, y: torch.mm(x, y), [(3, 4), (4, 5)]),
    "addmm": (lambda self, x, y: torch.addmm(torch.zeros(5), x, y), [(3, 4), (4, 5)]),
    "linear": (lambda self, x, y: F.linear(x, y), [(2, 3, 4), (6, 4)]),
    "einsum": (lambda self, x, y: torch.einsum("bij,bjk->bik", x, y), [X, Y]),
    "einsum with dots": (lambda self, x, y: torch.einsum("...ij,...jk", x, y), [X, Y]),
    "attention": (lambda self, x, y: F.scaled_dot_product_attention(x, y, y), [X, (2, 5, 4)]),
    "conv1d": (lambda self, x, y: F.conv1d(x, y, stride=2, dilation=2), [(2, 6, 15), (4, 6, 3)]),
    "conv3d": (lambda self, x, y: F.conv3d(x, y, groups=2), [(1, 4, 5, 6, 7), (2, 2, 3, 2, 1)]),
    "unbatched": (lambda self, x, y: F.conv2d(x, y), [(4, 6, 7), (2, 4, 3, 3)]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_torchs_counter_agrees_where_it_is_right(name):
    function, shapes = PRODUCTS[name]
    inputs = [torch.zeros(shape) for shape in shapes]
    with FlopCounterMode(display=False) as counter:
        function(None, *inputs)
    total = cs.analyze(Call(function), inputs).total
    assert total.flops == counter.get_total_flops() > 0


def test_products_beside_torchs_counter():
    def bilinear(self, x, y):
        return F.bilinear(x, y, self.weight)

    weight = nn.Parameter(torch.zeros(5, 3, 4))
    found = cs.analyze(Call(bilinear, weight=weight), [torch.zeros(2, 3), torch.zeros(2, 4)])
    assert found.total.macs.all == 2 * 5 * 3 * (4 + 1)
    lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True)
    found = cs.analyze(lstm, (3, 7, 4))
    assert found.total.macs.all == 3 * 7 * sum(p.numel() for p in lstm.parameters() if p.dim() == 2)
    three = Call(lambda self, a, b, c: torch.einsum("ij,jk,kl->il", a, b, c))
    found = cs.analyze(three, [torch.zeros(2, 3), torch.zeros(3, 4), torch.zeros(4, 5)])
    assert found.total.macs.all == 2 * 3 * 4 + 2 * 4 * 5
    cell = nn.GRUCell(4, 6)
    found = cs.analyze(cell, (3, 4))
    assert found.total.macs.all == 3 * sum(p.numel() for p in cell.parameters() if p.dim() == 2)
    tensordot = Call(lambda self, a, b: torch.tensordot(a, b, dims=([1, 2], [2, 0])))
    found = cs.analyze(tensordot, [torch.zeros(2, 3, 4), torch.zeros(4, 5, 3)])
    assert found.total.macs.all == 2 * 5 * 3 * 4
    chain = Call(lambda self, a, b, c: torch.linalg.multi_dot([a, b, c]))
    found = cs.analyze(chain, [torch.zeros(2, 3), torch.zeros(3, 4), torch.zeros(4, 5)])
    assert found.total.macs.all == 2 * 3 * 4 + 2 * 4 * 5


def test_what_cannot_be_counted_is_named():
    model = Call(lambda self, x: torch.fft.rfft(self.conv(x)).abs(), conv=nn.Conv2d(1, 2, 3))
    found = cs.analyze(model, (1, 1, 8, 8))
    assert found.total.uncounted == ("fft_rfft",)
    assert any("the work of fft_rfft cannot be counted" in note for note in found.notes)
    assert found.total.macs.all == 2 * 36 * 9
    (row,) = [row for row in found.layers if row.macs is None]
    assert row.to_json()["macs"] is None


def test_logic_and_norms_of_vectors_multiply_no_tensors():
    def gated(self, x):
        return F.normalize(x, dim=1).where((x > 0) & (x < 1), torch.divide(x, 2))

    found = cs.analyze(Call(gated), (1, 4, 8, 8))
    assert found.total.uncounted == ()
    assert found.total.macs.all == 0
    kinds = {row.operator: row.kind for row in found.layers}
    assert kinds["linalg_vector_norm"] == "reduction"
    assert kinds["__and__"] == kinds["divide"] == "elementwise"


def test_norm_and_elementwise_work_stand_beside_the_macs():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    total = cs.analyze(model, (1, 1, 8, 8)).total
    assert total.macs.all == 4 * 36 * 9
    assert (total.norm_elements, total.elementwise_elements) == (144, 144)

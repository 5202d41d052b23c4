# SPDX-License-Identifier: Apache-2.0
"""The published size, and that the decoder's values lie where the encoder found them."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convsmith import models
from convsmith.analysis import analyze
from convsmith.models.segmentation.segnet import DecoderStage


def test_the_published_size() -> None:
    model = models.create("segnet", device="meta")
    encoder = sum(p.numel() for p in model.encoder.parameters())
    assert round(encoder / 1e6, 1) == 14.7
    # Paszke et al. 2016, table 3: 29.46 million and 286.03 billion flops at 640 x 360; running
    # means and variances make the difference to what is trained, 29.45.
    state = {k: t for k, t in model.state_dict().items() if "num_batches" not in k}
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 29.45
    assert 29.46e6 < sum(t.numel() for t in state.values()) < 29.47e6
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 360, 640, device="meta"))
    # Their counter adds elementwise work; products alone are 1 % fewer.
    assert 0.985 < counter.get_total_flops() / 286.03e9 < 1


def test_it_has_thirteen_convolutions_down_and_up() -> None:
    model = models.create("segnet", device="meta")
    shapes = [
        [(m.in_channels, m.out_channels) for m in part.modules() if isinstance(m, nn.Conv2d)]
        for part in (model.encoder, model.decoder)
    ]
    down, up = shapes
    assert (len(down), down[0], down[-1]) == (13, (3, 64), (512, 512))
    assert up == [(b, a) for a, b in reversed(down[1:])] + [(64, 11)]


def test_a_maximum_goes_back_to_its_pixel() -> None:
    stage = DecoderStage([1, 1], is_last=False).eval()
    nn.init.dirac_(stage.unpool.convolution.weight)
    nn.init.zeros_(stage.unpool.convolution.bias)  # type: ignore[arg-type]
    stage.rest[0].eps = 0.0  # type: ignore[assignment]
    image = torch.rand(1, 1, 5, 7)
    pooled, indices = torch.nn.functional.max_pool2d(image, 2, return_indices=True)
    y = stage(pooled, indices, [5, 7])
    assert y.count_nonzero() == 6
    assert torch.equal(y[y > 0], image[y > 0])


def test_an_analysis_counts_what_an_odd_size_leaves() -> None:
    model, shape = models.create("segnet", width=0.0625, device="meta"), (1, 3, 45, 70)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))
    assert 2 * analyze(model, shape).total.macs.all == counter.get_total_flops()

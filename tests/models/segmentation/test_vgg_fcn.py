# SPDX-License-Identifier: Apache-2.0
"""The published size, what the transposed layers start as, and that maps meet where they should."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convsmith import models
from convsmith.analysis import analyze
from convsmith.errors import ArgumentError
from convsmith.models.segmentation.vgg_fcn import _bilinear


def test_the_published_size() -> None:
    model = models.create("vgg_fcn32s", device="meta")
    classifier = [sum(p.numel() for p in layer.parameters()) for layer in model.classifier]
    # Long et al. 2015, table 1: 134 million; the first is 7 x 7 x 512 to 4096, as in VGG-16.
    assert [count for count in classifier if count] == [102_764_544, 16_781_312, 86_037]
    enlarging = model.enlarge.weight.numel()
    assert (sum(p.numel() for p in model.parameters()) - enlarging) // 10**6 == 134


@pytest.mark.slow
def test_the_published_receptive_field() -> None:
    model = models.create("vgg_fcn32s", device="meta")
    scores = nn.Sequential(model.to_pool3, model.to_pool4, model.to_pool5, model.classifier)
    last = analyze(scores, (1, 3, 500, 500)).layers[-1].cone
    assert last is not None
    assert [(axis.size, axis.stride) for axis in last.axes] == [(404, 32), (404, 32)]


@pytest.mark.parametrize("factor", [2, 8])
def test_an_enlargement_starts_bilinear(factor: int) -> None:
    x = torch.randn(1, 3, 6, 7)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    cut = factor // 2
    found = _bilinear(3, factor)(x)[:, :, cut:-cut, cut:-cut]
    inside = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(found[inside], expected[inside])


def constant(model: nn.Module) -> None:
    """Every layer but the enlargements a mean of what it reads."""
    for name, parameter in model.named_parameters():
        if "enlarge" not in name and "double" not in name:
            nn.init.zeros_(parameter)
            if parameter.ndim == 4:
                nn.init.constant_(parameter, 1 / parameter[0].numel())


@pytest.mark.parametrize(
    ("stride", "read"), [(32, "classifier.6"), (16, "score_pool4"), (8, "score_pool3")]
)
def test_a_pixel_is_seen_where_it_is(stride: int, read: str) -> None:
    model: Any = models.create("vgg_fcn8s", stride=stride, width=0.001, num_classes=1)
    constant(model)
    for name in ("classifier.6", "score_pool4", "score_pool3"):
        if name != read and f"{name}.weight" in model.state_dict():
            nn.init.zeros_(model.get_submodule(name).weight)
    # A pixel stands for a cell of `stride` pixels: over its places in a cell, errors cancel.
    errors = []
    for offset in range(0, 32, 4):
        at = 200 + offset + 1.5
        x = torch.zeros(1, 3, 432, 432)
        x[..., int(at) - 1 : int(at) + 3, int(at) - 1 : int(at) + 3] = 1e6
        with torch.no_grad():
            y = model(x)[0, 0].double()
        centre = (y.sum(1) * torch.arange(432)).sum() / y.sum()
        errors.append(float(centre) - (int(at) + 0.5))
    assert abs(sum(errors) / len(errors)) < 0.75


def test_finer_maps_say_nothing_at_first() -> None:
    torch.manual_seed(0)
    coarse = models.create("vgg_fcn32s", width=0.03, num_classes=3)
    fine: Any = models.create("vgg_fcn8s", width=0.03, num_classes=3)
    shared = {k: v for k, v in coarse.state_dict().items() if not k.startswith("enlarge")}
    fine.load_state_dict(shared, strict=False)
    # Thrice bilinear is smoother than once, yet the same where scores do not change.
    x = torch.ones(1, 3, 500, 500)
    for model in (coarse, fine):
        for parameter in model.to_pool5.parameters():
            nn.init.zeros_(parameter)
    with torch.no_grad():
        a, b = coarse(x)[..., 220:280, 220:280], fine(x)[..., 220:280, 220:280]
    torch.testing.assert_close(a, b)


def test_another_stride_is_an_error() -> None:
    with pytest.raises(ArgumentError, match=r"vgg_fcn: stride is 4; choose from \[32, 16, 8\]"):
        models.create("vgg_fcn32s", stride=4)


def test_first_scores_of_a_photo_are_of_the_size_of_one() -> None:
    torch.manual_seed(0)
    model = models.create("vgg_fcn32s", width=0.0625)
    photo = torch.randint(256, (64, 64, 3), dtype=torch.uint8).numpy()
    with torch.no_grad():
        scores = model(model.preprocess.at_own_size(photo)[None])
    assert scores.std() < 2  # of pixels whose spread is left, 69

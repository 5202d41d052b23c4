# SPDX-License-Identifier: Apache-2.0
"""Published networks on photographs: tiles equal the whole up to rounding, and label alike."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import convsmith as cs
from convsmith.capture import spelt_out
from convsmith.scanning.plan import Plan
from convsmith.scanning.sliding import AxisSliding, sliding

from .running_tiles import plan_of, run_tiles


def dilated_context() -> nn.Module:
    """The context network of Yu and Koltun 2016, small: dilations 1, 1, 2, 4, 8, 1."""
    layers: list[nn.Module] = []
    channels = 3
    for dilation in (1, 1, 2, 4, 8, 1):
        layers += [nn.Conv2d(channels, 8, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        channels = 8
    return nn.Sequential(*layers, nn.Conv2d(8, 5, 1))


def lenet5(weights: Path) -> nn.Module:
    model = cs.models.create("lenet5", output="linear")
    return cs.to_fully_convolutional(model, torch.zeros(1, 1, 32, 32))


def vgg16(weights: Path) -> nn.Module:
    model = cs.models.create("vgg16", width=0.125, num_classes=10)
    return cs.to_fully_convolutional(model, torch.zeros(1, 3, 224, 224))


def resnet20(weights: Path) -> nn.Module:
    model = cs.models.create("resnet20", weights=weights / "cifar10_resnet20-12fca82f.th")
    return cs.to_fully_convolutional(model, torch.zeros(1, 3, 32, 32))


def mobilenet_v2(weights: Path) -> nn.Module:
    model = cs.models.create("mobilenet_v2", weights=weights / "mobilenet_v2_1.0_224_quant.npz")
    return cs.to_fully_convolutional(model, torch.zeros(1, 3, 224, 224))


def unet_small(weights: Path) -> nn.Module:
    return cs.models.create("unet_small", in_channels=3, width=0.5)


def dilated(weights: Path) -> nn.Module:
    return dilated_context()


def optimized_resnet20(weights: Path) -> nn.Module:
    """Its convolutions are computed as measured to be fastest: by the core, and by Winograd."""
    return cs.optimize(resnet20(weights), torch.zeros(1, 3, 96, 96)).model


# The network, the sizes of a cut of a photograph, and of a tile's core.
NETWORKS: list[tuple[Callable[[Path], nn.Module], tuple[int, int], tuple[int, int]]] = [
    (lenet5, (131, 160), (7, 9)),
    pytest.param(vgg16, (401, 450), (2, 3), marks=pytest.mark.slow),
    (resnet20, (150, 137), (9, 11)),
    (unet_small, (208, 152), (64, 56)),
    (dilated, (140, 151), (40, 48)),
    pytest.param(mobilenet_v2, (500, 613), (5, 6), marks=pytest.mark.slow),
    pytest.param(optimized_resnet20, (150, 137), (9, 11), marks=pytest.mark.slow),
]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("build", "space", "core"), NETWORKS, ids=lambda x: getattr(x, "__name__", "")
)
def test_tiles_of_a_photograph(
    build: Callable[[Path], nn.Module],
    space: tuple[int, int],
    core: tuple[int, int],
    shared_data: Path,
) -> None:
    network = build(shared_data / "weights").eval()
    channels = 1 if build is lenet5 else 3
    image = photograph(shared_data, channels, space)
    slides = sliding(network, channels, space)
    plan = cut(slides.axes, space, slides.outputs(space), core, channels)
    slides.check(plan.axes)
    with torch.no_grad():
        whole = network(image)
        tiled = run_tiles(network, plan, image)
    assert len(plan) >= 6
    check_rounding(tiled, whole, rounding(network, image[..., : 7 * 32, : 7 * 32]))


def check_rounding(tiled: Tensor, whole: Tensor, rounding: float) -> None:
    """Tiles and whole are two float32 evaluations of one sum, each off by the rounding or, with bad
    luck, twice that. A label may differ only where scores tie as closely.
    """
    off = 4 * rounding
    assert float((tiled - whole).abs().max()) <= off
    other = tiled.argmax(1) != whole.argmax(1)
    first, second = whole.topk(2, dim=1).values.unbind(1)
    assert bool(((first - second)[other] <= 2 * off).all())


def rounding(network: nn.Module, image: Tensor) -> float:
    """The largest difference of float32 from float64, in torch's own operators, on part of it."""
    twin = copy.deepcopy(spelt_out(network)).double()
    with torch.no_grad():
        # Not called: a captured network is for its own dtype.
        return float((network(image) - twin.forward(image.double())).abs().max())


def photograph(data: Path, channels: int, space: tuple[int, int]) -> Tensor:
    """The middle of a photograph, normalised."""
    picture = Image.open(data / "photos" / "cat_1080p.jpg").convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(picture).reshape(picture.height, picture.width, channels)
    top, left = ((size - wanted) // 2 for size, wanted in zip(pixels.shape[:2], space, strict=True))
    cut_out = pixels[top : top + space[0], left : left + space[1]]
    return torch.from_numpy(cut_out.copy()).permute(2, 0, 1)[None] / 127.5 - 1


def cut(
    axes: Sequence[AxisSliding],
    space: tuple[int, int],
    outputs: tuple[int, ...],
    core: tuple[int, int],
    channels: int,
) -> Plan:
    rows = zip(axes, space, outputs, core, strict=True)
    return plan_of([axis.cut(size, number, least) for axis, size, number, least in rows], channels)


@pytest.mark.parametrize(
    ("padding", "coincide"), [(0, True), (1, False)], ids=["unpadded", "padded"]
)
def test_the_map_holds_the_answers_to_crops_where_nothing_pads(
    padding: int, coincide: bool
) -> None:
    """`fcn` and `patch` are one promise if no output of the native image feels an edge."""
    generator = torch.Generator().manual_seed(0)
    classifier = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=padding, stride=2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 3),
    )
    for weight in classifier.parameters():
        weight.data = torch.randint(-3, 4, weight.shape, generator=generator).float()
    network = cs.to_fully_convolutional(classifier, torch.zeros(1, 1, 14, 14))
    image = torch.randint(-8, 9, (1, 1, 47, 38), generator=generator).float()
    slides = sliding(network, 1, [47, 38])
    with torch.no_grad():
        whole = network(image)
        stride = int(slides.axes[0].stride)
        crops = torch.stack(
            [
                torch.stack(
                    [
                        classifier(image[:, :, y : y + 14, x : x + 14])[0]
                        for x in range(0, 38 - 13, stride)
                    ]
                )
                for y in range(0, 47 - 13, stride)
            ]
        ).permute(2, 0, 1)[None]
    assert slides.is_padded((14, 14)) is not coincide
    assert torch.equal(whole, crops) is coincide

# SPDX-License-Identifier: Apache-2.0
"""Networks that nobody here wrote for these tests, or that are written as papers write them.

None may hold a silent zero, and torch's own counter must agree on all that it counts.
"""

import re
import warnings
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import convsmith as cs
from convsmith.analysis import Analysis
from convsmith.errors import CaptureError

from .zoos import from_monai, from_transformers
from .zoos.definition import Definition
from .zoos.handwritten import classifiers, dense, unusual

# Products that torch's counter passes over: sums of products written out, and products of vectors.
NOT_IN_TORCHS = {"mul and sum", "mv", "dot", "vdot", "outer"}
MULTIPLYING = {"convolution", "linear", "product", "attention"}
LEAST_SHARE = 0.95

ZOOS: dict[str, Callable[[], Iterable[Definition]]] = {
    "transformers": from_transformers.definitions,
    "monai": from_monai.definitions,
    "classifiers": classifiers.definitions,
    "dense": dense.definitions,
    "unusual": unusual.definitions,
}
# A few of every style, each well under a second.
SAMPLE = {
    "transformers": ("PPLCNetBackbone(", "SpeechT5HifiGan"),
    "monai": ("UNet(spatial_dims=3", "ResNet(block=basic"),
    "classifiers": ("shuffle_net(", "octave"),
    "dense": ("u_net", "feature_pyramid"),
    "unusual": ("wave_net", "wavelets", "unrolled"),
}


def all_of(zoo: str) -> list[Definition]:
    if zoo in ("transformers", "monai"):
        pytest.importorskip(zoo)
    return list(ZOOS[zoo]())


def torchs_count(model: nn.Module, definition: Definition) -> int | None:
    """What torch's counter says; None where the model cannot run without numbers, for then it
    passes over fused recurrent layers and attention.
    """
    inputs = [torch.empty(shape, device="meta") for shape in definition.inputs]
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*inputs)
    except RuntimeError:
        return None
    return counter.get_total_flops()


def analysed(definition: Definition) -> tuple[nn.Module, Analysis]:
    """By shapes alone, or with its numbers where it asks for them."""
    model = definition.model()
    try:
        return model, cs.analyze(model, definition.inputs)
    except CaptureError as error:
        if "asks for the numbers in a tensor" not in str(error):
            raise
    model = definition.model("cpu")
    return model, cs.analyze(model, definition.inputs)


def check(definition: Definition) -> None:
    with warnings.catch_warnings():
        # Of the zoo's own making: nothing of it is ours to change.
        warnings.filterwarnings("ignore", module=r"(?!convsmith)")
        model, found = analysed(definition)
        flops = torchs_count(model, definition)
    silent = [x.name for x in found.layers if x.kind in MULTIPLYING and x.macs and not x.macs.all]
    assert not silent
    assert not found.total.uncounted
    ours = sum(x.all_macs for x in found.layers if x.operator not in NOT_IN_TORCHS)
    assert ours > 0
    assert flops in (None, 2 * ours)


@pytest.mark.parametrize(
    ("zoo", "name"), [(zoo, name) for zoo, names in SAMPLE.items() for name in names]
)
def test_a_sample_of_public_networks(zoo: str, name: str) -> None:
    check(next(d for d in all_of(zoo) if d.name.startswith(name)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("zoo", ZOOS)
def test_public_networks_succeed(zoo: str) -> None:
    failed, every = {}, all_of(zoo)
    for definition in every:
        try:
            check(definition)
        except CaptureError as error:
            failed[definition.name] = str(error)
    unnamed = [m for m in failed.values() if not re.search(r"stops at module '.*' \(.+:\d+\)", m)]
    assert not unnamed
    share = 1 - len(failed) / len(every)
    print(f"{zoo}: {len(every)} definitions, {share:.1%} analysed")
    assert share >= LEAST_SHARE, failed

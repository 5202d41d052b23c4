# SPDX-License-Identifier: Apache-2.0
"""Networks of the `monai` package: encoder-decoders with skips, in one to three dimensions."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

from torch import nn

from .definition import Definition

SIDES = {1: (1, 1, 256), 2: (1, 1, 128, 128), 3: (1, 1, 64, 64, 64)}


def _built(name: str, options: dict[str, Any]) -> nn.Module:
    from monai.networks import nets

    return getattr(nets, name)(**options)


def _net(name: str, *shapes: tuple[int, ...], **options: Any) -> Definition:
    words = ", ".join(f"{key}={value}" for key, value in options.items())
    return Definition(f"{name}({words})", partial(_built, name, options), list(shapes))


def _encoder_decoders() -> Iterator[Definition]:
    for axes, shape in SIDES.items():
        common = {"spatial_dims": axes, "in_channels": 1, "out_channels": 2}
        for residual in (0, 2):
            yield _net(
                *("UNet", shape),
                **common,
                channels=(16, 32, 64, 128),
                strides=(2, 2, 2),
                num_res_units=residual,
            )
        for upsample in ("deconv", "pixelshuffle", "nontrainable"):
            yield _net("BasicUNet", shape, **common, upsample=upsample)
        yield _net("BasicUNetPlusPlus", shape, **common)
        yield _net("AttentionUnet", shape, **common, channels=(8, 16, 32), strides=(2, 2))
        for mode in ("deconv", "nontrainable", "pixelshuffle") if axes > 1 else ():
            yield _net("SegResNet", shape, **common, upsample_mode=mode)
    for axes in (2, 3):
        shape, common = SIDES[axes], {"spatial_dims": axes, "in_channels": 1, "out_channels": 2}
        yield _net("VNet", shape, **common)
        yield _net("SegResNetDS", shape, **common)
        yield _net("HighResNet", shape, **common)
        for supervised in (False, True):
            yield _net(
                *("DynUNet", shape),
                **common,
                kernel_size=[3, 3, 3],
                strides=[1, 2, 2],
                upsample_kernel_size=[2, 2],
                deep_supervision=supervised,
                res_block=supervised,
            )
        yield _net(
            *("RegUNet", shape),
            spatial_dims=axes,
            in_channels=1,
            num_channel_initial=8,
            depth=3,
            out_channels=2,
        )
        for size in ("MedNeXtSmall", "MedNeXtMedium"):
            yield _net(size, shape, **common)
        yield _net(
            *("AHNet", (1, 1, 128, 128, 64)[: axes + 2]),
            layers=(2, 2, 2, 2),
            spatial_dims=axes,
            upsample_mode="bilinear" if axes == 2 else "trilinear",
        )
    yield _net(
        *("SegResNetVAE", SIDES[3]), input_image_size=(64, 64, 64), in_channels=1, out_channels=2
    )
    yield _net("Quicknat", SIDES[2], num_classes=4, num_channels=1)


def _classifiers() -> Iterator[Definition]:
    for axes, shape in SIDES.items():
        common = {"spatial_dims": axes, "in_channels": 1}
        for name in ("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264"):
            yield _net(name, shape, **common, out_channels=3)
        for name in ("SEResNet50", "SEResNet101", "SEResNext50", "SENet154"):
            yield _net(name, shape, **common, num_classes=3)
        for block, layers in (("basic", [2, 2, 2, 2]), ("bottleneck", [3, 4, 6, 3])):
            for shortcut in ("A", "B"):
                yield _net(
                    *("ResNet", shape),
                    block=block,
                    layers=layers,
                    block_inplanes=[64, 128, 256, 512],
                    spatial_dims=axes,
                    n_input_channels=1,
                    shortcut_type=shortcut,
                )
        for number in (0, 2, 4):
            yield _net(
                *("EfficientNetBN", shape),
                **common,
                model_name=f"efficientnet-b{number}",
                pretrained=False,
            )


def _generators() -> Iterator[Definition]:
    for axes in (2, 3):
        shape = SIDES[axes]
        common = {"spatial_dims": axes, "in_channels": 1, "out_channels": 1}
        yield _net(*("AutoEncoder", shape), **common, channels=(8, 16, 32), strides=(2, 2, 2))
        yield _net(
            *("AutoencoderKL", shape),
            **common,
            channels=(32, 64),
            attention_levels=(False, False),
            num_res_blocks=1,
            latent_channels=4,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        yield _net(
            *("PatchDiscriminator", shape),
            spatial_dims=axes,
            in_channels=1,
            channels=16,
            num_layers_d=3,
        )
    if find_spec("einops"):  # which its attention needs
        yield _net(
            *("DiffusionModelUNet", (1, 1, 64, 64), (1,)),
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=(32, 64),
            attention_levels=(False, True),
            num_head_channels=32,
            num_res_blocks=1,
        )


def definitions() -> list[Definition]:
    """All of them."""
    return [d for part in (_encoder_decoders, _classifiers, _generators) for d in part()]

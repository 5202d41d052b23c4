# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks of the `transformers` package, built from configurations, never fetched.

Sizes are those of the papers where a family has several; one row is one network.
"""

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from torch import nn

from .definition import Definition

IMAGE = (1, 3, 224, 224)
Options = dict[str, Any]


def _built(model: str, config: str, options: Options) -> nn.Module:
    import transformers

    own = getattr(transformers, config)(**options)
    return getattr(transformers, model)(own)


def _pair(model: str, config: str, shape: Any = IMAGE, **options: Any) -> Definition:
    words = ", ".join(f"{key}={value}" for key, value in options.items())
    name = f"{model}({words})"
    return Definition(name, partial(_built, model, config, options), [shape])


def _residual() -> Iterator[Definition]:
    depths = {
        "basic": ([2, 2, 2, 2], [3, 4, 6, 3]),
        "bottleneck": ([2, 2, 2, 2], [3, 4, 6, 3], [3, 4, 23, 3], [3, 8, 36, 3]),
    }
    for kind, rows in depths.items():
        widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
        for row in rows:
            options = {"layer_type": kind, "depths": row, "hidden_sizes": widths}
            for model in ("ResNetForImageClassification", "ResNetBackbone"):
                yield _pair(model, "ResNetConfig", **options)
    yield _pair("ResNetModel", "ResNetConfig", downsample_in_bottleneck=True)
    yield _pair("ResNetModel", "ResNetConfig", downsample_in_first_stage=True)
    yield _pair("RTDetrResNetBackbone", "RTDetrResNetConfig")
    for kind in ("x", "y"):
        for depth, width, group in (
            ([1, 1, 4, 7], [24, 56, 152, 368], 8),
            ([1, 3, 7, 5], [48, 104, 208, 440], 8),
            ([2, 6, 15, 2], [96, 192, 432, 1008], 48),
            ([2, 5, 14, 2], [224, 448, 896, 2240], 112),
        ):
            options = {"layer_type": kind, "depths": depth, "hidden_sizes": width}
            yield _pair(
                "RegNetForImageClassification", "RegNetConfig", groups_width=group, **options
            )
    for kind in ("preactivation", "bottleneck"):
        for padding in (None, "SAME"):
            options = {"layer_type": kind, "global_padding": padding}
            yield _pair("BitForImageClassification", "BitConfig", **options)
            yield _pair("BitBackbone", "BitConfig", **options)
    for row in ([3, 4, 6, 3], [3, 4, 23, 3]):
        yield _pair("BitForImageClassification", "BitConfig", depths=row)


def _mobile() -> Iterator[Definition]:
    for width in (0.25, 0.5, 0.75, 1.0):
        for padded in (True, False):
            options = {"depth_multiplier": width, "tf_padding": padded}
            yield _pair("MobileNetV1ForImageClassification", "MobileNetV1Config", **options)
    for width in (0.35, 0.5, 0.75, 1.0, 1.4):
        for padded in (True, False):
            options = {"depth_multiplier": width, "tf_padding": padded}
            yield _pair("MobileNetV2ForImageClassification", "MobileNetV2Config", **options)
    for stride in (8, 16, 32):
        for shape in (IMAGE, (1, 3, 513, 513)):
            yield _pair(
                *("MobileNetV2ForSemanticSegmentation", "MobileNetV2Config", shape),
                output_stride=stride,
            )
    for width, depth, size in (
        *((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 300), (1.4, 1.8, 380)),
        *((1.6, 2.2, 456), (1.8, 2.6, 528), (2.0, 3.1, 600)),
    ):
        options = {"width_coefficient": width, "depth_coefficient": depth, "image_size": size}
        hidden = {"hidden_dim": int(1280 * width + 4) // 8 * 8}
        shape = (1, 3, size, size)
        yield _pair(
            *("EfficientNetForImageClassification", "EfficientNetConfig", shape),
            **options,
            **hidden,
        )
    for hidden, neck in (
        ([64, 80, 96], [16, 16, 24, 48, 64, 80, 320]),
        ([96, 120, 144], [16, 32, 48, 64, 80, 96, 384]),
        ([144, 192, 240], [16, 32, 64, 96, 128, 160, 640]),
    ):
        options = {"hidden_sizes": hidden, "neck_hidden_sizes": neck}
        for task in ("ImageClassification", "SemanticSegmentation"):
            yield _pair(f"MobileViTFor{task}", "MobileViTConfig", (1, 3, 256, 256), **options)
    for width in (0.5, 1.0, 1.5, 2.0):
        for task in ("ImageClassification", "SemanticSegmentation"):
            yield _pair(
                *(f"MobileViTV2For{task}", "MobileViTV2Config", (1, 3, 256, 256)),
                width_multiplier=width,
            )
    for name in ("PPLCNet", "PPLCNetV3", "PPLCNetV4"):
        yield _pair(f"{name}Backbone", f"{name}Config")
        for scale in (0.5, 2.0) if name != "PPLCNetV4" else ():
            yield _pair(f"{name}Backbone", f"{name}Config", scale=scale)
    for dims, depths in (([48, 56, 112, 220], [3, 3, 6, 4]), ([64, 128, 320, 512], [4, 4, 12, 6])):
        yield _pair(
            "SwiftFormerForImageClassification",
            "SwiftFormerConfig",
            embed_dims=dims,
            depths=depths,
        )


def _modern() -> Iterator[Definition]:
    for depths, widths in (
        ([3, 3, 9, 3], [96, 192, 384, 768]),
        ([3, 3, 27, 3], [96, 192, 384, 768]),
        ([3, 3, 27, 3], [128, 256, 512, 1024]),
        ([3, 3, 27, 3], [192, 384, 768, 1536]),
        ([2, 2, 6, 2], [40, 80, 160, 320]),
        ([2, 2, 8, 2], [80, 160, 320, 640]),
    ):
        options = {"depths": depths, "hidden_sizes": widths}
        yield _pair("ConvNextForImageClassification", "ConvNextConfig", **options)
        yield _pair("ConvNextV2ForImageClassification", "ConvNextV2Config", **options)
        yield _pair("DINOv3ConvNextModel", "DINOv3ConvNextConfig", **options)
    for depths in ([2, 2, 6, 2], [2, 2, 18, 2]):
        for levels in ([2, 2, 2, 2], [3, 3, 3, 3]):
            yield _pair(
                "FocalNetForImageClassification",
                "FocalNetConfig",
                depths=depths,
                focal_levels=levels,
            )
    yield _pair("FocalNetForMaskedImageModeling", "FocalNetConfig")
    for depths, widths in (
        ([2, 2, 6, 2], [64, 128, 320, 512]),
        ([6, 6, 18, 6], [64, 128, 320, 512]),
        ([8, 8, 24, 8], [96, 192, 384, 768]),
    ):
        options = {"depths": depths, "hidden_sizes": widths}
        yield _pair("PoolFormerForImageClassification", "PoolFormerConfig", **options)
    for name in ("HGNetV2ForImageClassification", "HGNetV2Backbone"):
        yield _pair(name, "HGNetV2Config")
    yield _pair("TextNetForImageClassification", "TextNetConfig", (1, 3, 640, 640))
    for depth in ([1, 2, 10], [1, 4, 16], [2, 2, 20]):
        yield _pair("CvtForImageClassification", "CvtConfig", depth=depth)
    for hidden, heads in (
        ([128, 256, 384], [4, 6, 8]), ([192, 288, 384], [3, 5, 6]), ([384, 512, 768], [6, 9, 12])
    ):  # fmt: skip
        yield _pair(
            *("LevitForImageClassification", "LevitConfig"),
            hidden_sizes=hidden,
            num_attention_heads=heads,
        )
    yield _pair("LevitForImageClassificationWithTeacher", "LevitConfig")


def _pyramids() -> Iterator[Definition]:
    wide, narrow = [64, 128, 320, 512], [32, 64, 160, 256]
    for depths, widths in (
        ([2, 2, 2, 2], narrow),
        ([2, 2, 2, 2], wide),
        ([3, 4, 6, 3], wide),
        ([3, 4, 18, 3], wide),
        ([3, 6, 40, 3], wide),
    ):
        options = {"depths": depths, "hidden_sizes": widths}
        for task in ("ImageClassification", "SemanticSegmentation"):
            yield _pair(f"SegformerFor{task}", "SegformerConfig", **options)
        yield _pair("PvtV2ForImageClassification", "PvtV2Config", **options)
        yield _pair("PvtForImageClassification", "PvtConfig", **options)
        yield _pair("GLPNForDepthEstimation", "GLPNConfig", **options)
    yield _pair("PvtV2ForImageClassification", "PvtV2Config", linear_attention=True)
    for depths, width, heads in (
        ([2, 2, 6, 2], 96, [3, 6, 12, 24]),
        ([2, 2, 18, 2], 128, [4, 8, 16, 32]),
    ):
        options = {"depths": depths, "embed_dim": width, "num_heads": heads}
        for name in ("Swin", "Swinv2", "DonutSwin"):
            yield _pair(f"{name}ForImageClassification", f"{name}Config", **options)
        yield _pair("SwinBackbone", "SwinConfig", (1, 3, 320, 256), **options)
    for upsampler in ("pixelshuffle", "pixelshuffledirect", "nearest+conv", ""):
        yield _pair(
            *("Swin2SRForImageSuperResolution", "Swin2SRConfig", (1, 3, 64, 64)),
            upsampler=upsampler,
            upscale=4 if upsampler == "nearest+conv" else 2,
            depths=[2, 2],
            num_heads=[6, 6],
        )
    yield _pair("HieraForImageClassification", "HieraConfig")


def _dense_prediction() -> Iterator[Definition]:
    for name in ("DepthAnything", "DPT", "PromptDepthAnything", "ZoeDepth"):
        size = 384 if name in ("DPT", "ZoeDepth") else 518
        yield _pair(f"{name}ForDepthEstimation", f"{name}Config", (1, 3, size, size))
    yield _pair("DPTForSemanticSegmentation", "DPTConfig", (1, 3, 384, 384))
    yield _pair("Data2VecVisionForSemanticSegmentation", "Data2VecVisionConfig")
    yield _pair("UperNetForSemanticSegmentation", "UperNetConfig", (1, 3, 512, 512))
    yield _pair("UperNetForSemanticSegmentation", "UperNetConfig", use_auxiliary_head=False)
    yield _pair("MaskFormerForInstanceSegmentation", "MaskFormerConfig", (1, 3, 384, 384))
    yield _pair("Mask2FormerForUniversalSegmentation", "Mask2FormerConfig", (1, 3, 384, 384))
    for name in ("RTDetr", "RTDetrV2"):
        yield _pair(f"{name}ForObjectDetection", f"{name}Config", (1, 3, 640, 640))
    yield _pair("YolosForObjectDetection", "YolosConfig", (1, 3, 512, 864))
    yield _pair("VitDetBackbone", "VitDetConfig", num_hidden_layers=4)
    yield _pair("VitPoseForPoseEstimation", "VitPoseConfig", (1, 3, 256, 192))
    yield _pair("UVDocBackbone", "UVDocBackboneConfig", (1, 3, 712, 488))
    yield _pair("SamVisionModel", "SamVisionConfig", (1, 3, 1024, 1024), num_hidden_layers=2)
    for name in ("DetrForObjectDetection", "ConditionalDetrForObjectDetection"):
        yield Definition(f"{name} on a ResNet", partial(_detr, name), [(1, 3, 480, 640)])


def _detr(model: str) -> nn.Module:
    import transformers

    backbone = transformers.ResNetConfig(out_features=["stage4"])
    config = getattr(transformers, model.replace("ForObjectDetection", "Config"))
    return getattr(transformers, model)(
        config(backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False)
    )


def _transformers() -> Iterator[Definition]:
    """One convolution cuts the image into patches; the rest are products."""
    for name in ("ViT", "DeiT", "Dinov2", "Dinov2WithRegisters", "IJepa", "ViTMSN", "Beit"):
        yield _pair(f"{name}ForImageClassification", f"{name}Config", num_hidden_layers=3)
    for name in ("CLIPVision", "SiglipVision", "ChineseCLIPVision", "Aimv2Vision"):
        yield _pair(f"{name}Model", f"{name}Config", num_hidden_layers=3)
    video = (1, 8, 3, 224, 224)
    yield _pair(
        *("TimesformerForVideoClassification", "TimesformerConfig", video), num_hidden_layers=3
    )
    yield _pair(
        *("VivitForVideoClassification", "VivitConfig", video), num_frames=8, num_hidden_layers=3
    )


def _sounds() -> Iterator[Definition]:
    sound = (1, 16000)
    for name in ("Wav2Vec2", "Hubert", "WavLM", "UniSpeech", "UniSpeechSat", "SEW", "SEWD"):
        yield _pair(f"{name}Model", f"{name}Config", sound, num_hidden_layers=2)
    for norm in ("group", "layer"):
        yield _pair(
            "Wav2Vec2ForCTC",
            "Wav2Vec2Config",
            sound,
            feat_extract_norm=norm,
            conv_bias=True,
            num_hidden_layers=2,
        )
    yield _pair("Wav2Vec2ConformerModel", "Wav2Vec2ConformerConfig", sound, num_hidden_layers=2)
    yield _pair("Wav2Vec2BertModel", "Wav2Vec2BertConfig", (1, 200, 160), num_hidden_layers=2)
    yield _pair("ASTModel", "ASTConfig", (1, 1024, 128), num_hidden_layers=2)
    yield _pair("SpeechT5HifiGan", "SpeechT5HifiGanConfig", (100, 80))
    yield _pair("FastSpeech2ConformerHifiGan", "FastSpeech2ConformerHifiGanConfig", (100, 80))
    yield _pair("EncodecModel", "EncodecConfig", (1, 1, 24000))
    yield _pair("DacModel", "DacConfig", (1, 1, 16384))
    yield _pair("MimiModel", "MimiConfig", (1, 1, 24000), num_hidden_layers=2)


def definitions() -> list[Definition]:
    """All of them."""
    parts = (*(_residual, _mobile, _modern, _pyramids, _dense_prediction, _transformers, _sounds),)
    return [definition for part in parts for definition in part()]

# SPDX-License-Identifier: Apache-2.0
"""Every layer's weights, and the head that has none; the rest is in test_every_network."""

import torch

from convsmith import models


def test_every_layer_has_the_weights_of_the_definition() -> None:
    model = models.create("network_in_network", device="meta")
    layers = [layer for layer in model.modules() if hasattr(layer, "geometry")]
    assert [sum(p.numel() for p in layer.parameters()) for layer in layers] == [
        *(3 * 25 * 192 + 192, 192 * 160 + 160, 160 * 96 + 96),
        *(96 * 25 * 192 + 192, 192 * 192 + 192, 192 * 192 + 192),
        *(192 * 9 * 192 + 192, 192 * 192 + 192, 192 * 10 + 10),
    ]


def test_a_score_is_the_mean_of_its_map() -> None:
    model = models.create("network_in_network", width=0.1, num_classes=4)
    maps = model.features(x := torch.randn(2, 3, 48, 40))
    assert maps.shape == (2, 4, 12, 10)
    torch.testing.assert_close(model(x), maps.mean((2, 3)))

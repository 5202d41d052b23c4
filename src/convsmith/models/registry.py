# SPDX-License-Identifier: Apache-2.0
"""The list of networks, and building one by its name."""

from __future__ import annotations

import math
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from convsmith.errors import ArgumentError, ConvsmithError, FormatError
from convsmith.models.classification import CLASSIFIERS
from convsmith.models.detection import DETECTION_NETWORKS
from convsmith.models.loading import load_state, read_weights, require_match
from convsmith.models.network import Model, Network, Recipe
from convsmith.models.residual import RESIDUAL_NETWORKS
from convsmith.models.restoration import RESTORATION_NETWORKS
from convsmith.models.segmentation import SEGMENTATION_NETWORKS
from convsmith.models.video import VIDEO_NETWORKS

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        *CLASSIFIERS,
        *RESIDUAL_NETWORKS,
        *SEGMENTATION_NETWORKS,
        *DETECTION_NETWORKS,
        *RESTORATION_NETWORKS,
        *VIDEO_NETWORKS,
    )
}
_EMBEDDED = Path(__file__).parent / "weights"


def names(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern, sorted.

    >>> names("resnet?")
    ['resnet8']
    """
    return sorted(name for name in NETWORKS if fnmatchcase(name, pattern))


def find(name: str) -> Network:
    """The entry of one network.

    Raises:
        ArgumentError: if there is none of that name; the message lists those that come close.
    """
    if name not in NETWORKS:
        close = get_close_matches(name, NETWORKS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known are {names()}"
        raise ArgumentError(f"models: no network is called {name!r}; {hint}")
    return NETWORKS[name]


def create(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    width: float | None = None,
    weights: str | Path | None = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Model:
    """Build a published network, in eval mode, with its preprocessing in `.preprocess`.

    Args:
        num_classes: Outputs; None takes the published number. Networks that tell no classes apart
            have no such option.
        in_channels: Channels of the image; 1 and 3 adapt the preprocessing too.
        width: Factor on the number of channels of every layer.
        weights: None for random ones, "embedded" for those in the package, or a file (see
            `load_weights`): what it tells about the network's options holds unless given here.
        device: Where it is built; "meta" builds shapes without memory.
        dtype: Of its parameters; None takes torch's default.
        options: The network's own; its class lists them.

    Raises:
        ArgumentError: if the name or an option is unknown, or nothing is embedded.
        FormatError: if the file does not hold this network's weights.

    >>> create("resnet20", in_channels=1).preprocess.colour
    'L'
    """
    network = find(name)
    given: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "width": width}
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        kind = float if key == "width" else int
        if not isinstance(value, int | kind) or not 0 < value < math.inf:
            raise ArgumentError(f"create: {key} is {value!r}; it is a positive {kind.__name__}")
    options = {**given, **options}
    if weights is None:
        return _build(network, options, device, dtype)
    stored = read_weights(_embedded(network) if weights == "embedded" else Path(weights), network)
    options = {**stored.options, **options}
    # Compared without memory first: what a file says about sizes is not to be trusted.
    require_match(_shapes(network, options, weights), stored.tensors, weights)
    model = _build(network, options, device, dtype)
    if stored.preprocess is not None:
        model.preprocess = stored.preprocess
    load_state(model, stored.tensors, weights)
    return model


def load_weights(model: str | Model, path: str | Path) -> Model:
    """Read a file of weights into a network, and the preprocessing that the file states.

    The file is `.safetensors` (a `.json` of the same name beside it may state options and
    preprocessing), `.pth`, `.pt` or `.th` (read with weights_only; a `module.` prefix is dropped),
    or, for networks whose weights were published so, an `.npz` (see `tflite`: with a `.json` beside
    it, dequantised by (q - zero point) scale).

    Args:
        model: A name, which is built with the options that the file states, or a model that
            `create` returned, which is changed in place.

    Raises:
        FormatError: if the file is damaged or holds another network: the first tensor that is
            missing, unexpected or of another shape is named.
    """
    if isinstance(model, str):
        return create(model, weights=path)
    stored = read_weights(Path(path), find(model.recipe.network))
    load_state(model, stored.tensors, path)
    if stored.preprocess is not None:
        model.preprocess = stored.preprocess
    return model


def _build(network: Network, options: dict[str, Any], device: Any, dtype: Any) -> Model:
    try:
        with torch.device(device if device is not None else torch.get_default_device()):
            model = network.build(**options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        raise ArgumentError(f"create: {network.name} has no such option: {error}") from None
    model.preprocess = network.preprocess.for_channels(
        options.get("in_channels", network.preprocess.channels)
    )
    model.recipe = Recipe(network=network.name, options=options)
    return model.to(dtype).eval() if dtype is not None else model.eval()


def _shapes(network: Network, options: dict[str, Any], weights: str | Path) -> Model:
    try:
        return _build(network, options, "meta", None)
    except ConvsmithError:
        raise
    except Exception as error:  # options of a damaged file fail in any way they like
        raise FormatError(
            f"load_weights: {Path(weights).name}: no {network.name} has options {options}: {error}"
        ) from None


def _embedded(network: Network) -> Path:
    if not network.embedded:
        holders = [other.name for other in NETWORKS.values() if other.embedded]
        raise ArgumentError(
            f"create: no weights of {network.name} are in the package (only of {holders}); "
            f"give a file"
        )
    return _EMBEDDED / f"{network.name}.safetensors"

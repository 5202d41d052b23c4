# SPDX-License-Identifier: Apache-2.0
"""What the graph alone shows: norms that fold into a convolution, linear layers over a map."""

from collections.abc import Iterator, Sequence

from torch.fx import Node

from convsmith.analysis.findings.site import Site
from convsmith.analysis.operators import is_view, named, plain_name, sizes
from convsmith.analysis.result import Finding, Layer
from convsmith.analysis.windows import convolution_at


def linear_on_maps(site: Site) -> Iterator[Finding]:
    """A linear layer that reads a flattened map is a convolution as large as the map."""
    if plain_name(site.node) != "linear":
        return
    source = named(site.node)["input"]
    while isinstance(source, Node) and source.op == "call_function" and _hands_on(source):
        source = source.all_input_nodes[0]
    shape = sizes(source)
    if len(shape) > 2 and len(sizes(named(site.node)["input"])) == 2:
        what = f"reads a flattened map: it is a convolution of {'x'.join(map(str, shape[2:]))}"
        yield site.finding(what, "linear_to_convolution", 0.0)


def _hands_on(node: Node) -> bool:
    return bool(node.all_input_nodes) and (is_view(node) or "dropout" in plain_name(node))


def foldable_norms(layers: Sequence[tuple[object, Layer]]) -> Iterator[Finding]:
    """A batch-norm behind a convolution that nothing else reads."""
    for node, layer in layers:
        if not isinstance(node, Node) or plain_name(node) != "batch_norm":
            continue
        given = named(node)
        source = given["input"]
        if given.get("training") or not isinstance(source, Node):
            continue
        if convolution_at(source) is not None and len(source.users) == 1:
            yield Finding(
                layer=layer.name,
                what="follows a convolution that can take it in",
                saves_macs=0,
                saves_parameters=layer.parameters,
                rewrite="fold_batchnorm",
            )

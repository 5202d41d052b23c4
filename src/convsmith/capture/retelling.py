# SPDX-License-Identifier: Apache-2.0
"""A captured network told again node by node: each remembers the user's module it came from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import fx

from convsmith.capture.network import Network
from convsmith.capture.nodes import module_path

# The path of a module, where the user's own code called it, and the number of the chain that the
# node was spelt out from, as far as they are known.
Telling = Callable[[str, str, int | None], None]


def retell(
    network: Network, args: Sequence[Any], kwargs: Mapping[str, Any], telling: Telling
) -> Any:
    """Run a network; `telling` hears before every node where it came from.

    Raises:
        ShapeError: if the network was not captured for such inputs.
    """
    leaves = network._leaves(tuple(args), dict(kwargs))
    network.contract.check(leaves)
    return _Teller(network, telling).run(*leaves, enable_io_processing=False)


class _Teller(fx.Interpreter):
    def __init__(self, network: Network, telling: Telling) -> None:
        super().__init__(network)
        self.extra_traceback = False
        self._telling = telling

    def run_node(self, n: fx.Node) -> Any:
        self._telling(module_path(n), n.meta.get("stack_trace") or "", n.meta.get("chain"))
        return super().run_node(n)

# SPDX-License-Identifier: Apache-2.0
"""What tests of rules share: models of small integers, one call that captures and rewrites."""

import pytest
import torch
from torch import nn

from convsmith.capture import capture
from convsmith.rewrite.engine import rewrite
from convsmith.rewrite.inputs import Inputs

aten = torch.ops.aten


def operators(captured):
    """The graph's operators in order ("conv2d", "relu"); bookkeeping of sizes left out."""
    targets = [node.target for node in captured.graph.nodes]
    names = [str(t).split(".")[1] for t in targets if isinstance(t, torch._ops.OpOverload)]
    return [name for name in names if not name.startswith("sym_size")]


@pytest.fixture
def rewritten():
    """`rewritten(model, x, *rules)`: the engine's result, with the operators it left."""

    def run(model, x, *rules):
        args = x if isinstance(x, tuple) else (x,)
        result = rewrite(capture(model, args), rules, Inputs(args))
        result.operators = operators(result.captured)
        return result

    return run


@pytest.fixture
def integers():
    """`integers(model)`: fill a model with small integers: float32 sums are exact in any order.

    Batch-norm gets var + eps = 4 (eps 1, variance 3): its scale is then gamma / 2, exact in binary.
    """

    def fill(model, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for module in model.modules():
            for name, tensor in [
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ]:
                if tensor.is_floating_point():
                    values = torch.randint(-3, 4, tensor.shape, generator=generator)
                    tensor.data.copy_(
                        torch.full_like(values, 3) if name == "running_var" else values
                    )
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps = 1.0
        return model.eval()

    return fill


@pytest.fixture
def whole_numbers():
    """`whole_numbers(*shape)`: a float tensor of small integers."""

    def make(*shape, seed=1):
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(-4, 5, shape, generator=generator).float()

    return make

# SPDX-License-Identifier: Apache-2.0
"""Chains of 2-D convolutions that one kernel of the core computes in one pass, for inference.

A family that owns such a kernel registers it here. A planner asks which kernels serve a chain,
times them, and writes the fastest into the graph.
"""

from convsmith.native.chains.axes import as_images as as_images
from convsmith.native.chains.axes import image_shape as image_shape
from convsmith.native.chains.axes import with_axes as with_axes
from convsmith.native.chains.chain import Chain as Chain
from convsmith.native.chains.chain import Stage as Stage
from convsmith.native.chains.kernel import ChainKernel as ChainKernel
from convsmith.native.chains.kernel import chain_kernels as chain_kernels
from convsmith.native.chains.kernel import register_kernel as register_kernel
from convsmith.native.chains.op import OPERATORS as OPERATORS
from convsmith.native.chains.op import StageOptions as StageOptions
from convsmith.native.chains.op import by_torch as by_torch
from convsmith.native.chains.op import chain_of as chain_of
from convsmith.native.chains.op import each_bias as each_bias
from convsmith.native.chains.op import each_stage as each_stage
from convsmith.native.chains.op import has_chains as has_chains
from convsmith.native.chains.op import is_chain as is_chain
from convsmith.native.chains.op import options_of as options_of
from convsmith.native.chains.passes import Add as Add
from convsmith.native.chains.passes import Concat as Concat
from convsmith.native.chains.passes import Pool as Pool
from convsmith.native.chains.program import Program as Program
from convsmith.native.chains.running import ChainCall as ChainCall
from convsmith.native.chains.running import run_chain as run_chain
from convsmith.native.chains.steps import ChainStep as ChainStep
from convsmith.native.chains.steps import Step as Step
from convsmith.native.chains.subsampling import Subsample as Subsample

# SPDX-License-Identifier: Apache-2.0
"""The exact rules in the order they run: what does nothing goes first, so that neighbours meet."""

from convsmith.rewrite.rules import (
    batchnorm_as_depthwise,
    drop_inference_noops,
    fold_batchnorm,
    fold_constants,
    merge_pointwise,
)

EXACT_RULES = (
    drop_inference_noops.RULE,
    fold_constants.RULE,
    fold_batchnorm.RULE,
    merge_pointwise.RULE,
)
# What pays only where the core's kernels compute the result.
KERNEL_RULES = (batchnorm_as_depthwise.RULE,)

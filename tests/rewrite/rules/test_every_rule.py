# SPDX-License-Identifier: Apache-2.0
"""Every rule's own example: it does what it says, once, bit for bit, and leaves the model alone."""

import copy

import pytest
import torch

from convsmith.capture import capture
from convsmith.rewrite.rules import EXACT_RULES


@pytest.mark.parametrize("rule", EXACT_RULES, ids=lambda rule: rule.name)
def test_example_is_rewritten_as_documented_and_bit_equal(rule, rewritten):
    model, x = rule.example.make()
    model.eval()
    untouched = copy.deepcopy(model.state_dict())
    result = rewritten(model, x, rule)
    before = [
        str(n.target).split(".")[1]
        for n in capture(model, x).graph.nodes
        if n.op == "call_function"
    ]
    assert [name for name in before if not name.startswith("sym_size")] == rule.example.before
    assert result.operators == rule.example.after
    assert torch.equal(result.captured.module(x), model(x))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, untouched[name])


@pytest.mark.parametrize("rule", EXACT_RULES, ids=lambda rule: rule.name)
def test_a_rule_promises_one_sentence_and_certifies_each_place(rule, rewritten):
    model, x = rule.example.make()
    certificates = rewritten(model.eval(), x, rule).certificates
    assert rule.promise.endswith(".")
    assert rule.promise.count(".") == 1
    assert certificates
    for certificate in certificates:
        assert certificate.rule == rule.name
        assert certificate.kind == "exact"
        assert certificate.max_abs_error == 0
        assert certificate.after.macs <= certificate.before.macs
        assert certificate.after.parameters <= certificate.before.parameters

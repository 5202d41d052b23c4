# SPDX-License-Identifier: Apache-2.0
"""The two names every docstring example may use without importing them."""

from typing import Any

import pytest
import torch

import convsmith


@pytest.fixture(autouse=True)
def _names_in_examples(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, cs=convsmith)

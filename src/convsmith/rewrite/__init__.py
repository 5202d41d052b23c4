# SPDX-License-Identifier: Apache-2.0
"""Rewriting a captured network: rules find and change, the engine proves and rolls back."""

from convsmith.rewrite.fully_convolutional import to_fully_convolutional as to_fully_convolutional

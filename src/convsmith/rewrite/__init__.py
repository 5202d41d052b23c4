# SPDX-License-Identifier: Apache-2.0
"""Rewriting a captured network: rules find and change, the engine proves and rolls back."""

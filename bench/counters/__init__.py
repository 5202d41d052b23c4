# SPDX-License-Identifier: Apache-2.0
"""Counters of multiply-accumulates side by side."""

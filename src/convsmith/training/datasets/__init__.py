# SPDX-License-Identifier: Apache-2.0
"""Data to learn from: one set, or one form of files, a module."""

from convsmith.training.datasets import digits as digits
from convsmith.training.datasets.images import ImageSet as ImageSet
from convsmith.training.datasets.images import load_images as load_images

# SPDX-License-Identifier: Apache-2.0
"""Sizes, padding, cones and gridding of convolutions: plain integers, no tensors."""

from convsmith.geometry.axis import Axis as Axis
from convsmith.geometry.axis import TransposedAxis as TransposedAxis
from convsmith.geometry.axis import same_padding as same_padding
from convsmith.geometry.axis import same_transposed_padding as same_transposed_padding
from convsmith.geometry.axis import span as span
from convsmith.geometry.cone import Cone as Cone
from convsmith.geometry.convolution import Geometry as Geometry
from convsmith.geometry.convolution import Macs as Macs
from convsmith.geometry.convolution import TransposedGeometry as TransposedGeometry
from convsmith.geometry.gridding import HybridDilation as HybridDilation
from convsmith.geometry.gridding import closing_dilations as closing_dilations
from convsmith.geometry.gridding import hybrid_dilation as hybrid_dilation
from convsmith.geometry.gridding import touched as touched
from convsmith.geometry.integers import INT64_MAX as INT64_MAX
from convsmith.geometry.integers import Ints as Ints
from convsmith.geometry.integers import Padding as Padding
from convsmith.geometry.integers import Pairs as Pairs
from convsmith.geometry.integers import checked as checked
from convsmith.geometry.integers import padding_pairs as padding_pairs
from convsmith.geometry.integers import per_axis as per_axis
from convsmith.geometry.pooling import PoolingGeometry as PoolingGeometry
from convsmith.geometry.window import Window as Window
from convsmith.geometry.window import batch_of as batch_of

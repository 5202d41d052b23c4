# SPDX-License-Identifier: Apache-2.0
"""Stride to dilation: a network's map on a finer grid, unchanged on the old one.

strides   how many pixels of the image lie between neighbours, for every axis of every value
walk      one pass over the graph: what is refined, taken back to the old grid, or refused
windows   convolution, pooling, padding, sub-sampling on a refined map
average   average pooling, which has no dilation in torch
alike     does a layer treat every position alike? decided by trial
"""

# SPDX-License-Identifier: Apache-2.0
"""Networks that find boxes."""

from convsmith.models.detection.rednet_retinanet import REDNET_50_RETINANET

DETECTION_NETWORKS = (REDNET_50_RETINANET,)

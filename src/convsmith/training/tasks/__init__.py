# SPDX-License-Identifier: Apache-2.0
"""What a network can be asked to learn: one task a file."""

from convsmith.training.tasks.classification import Classification as Classification
from convsmith.training.tasks.detection import Detection as Detection
from convsmith.training.tasks.pulse import Pulse as Pulse
from convsmith.training.tasks.segmentation import Segmentation as Segmentation
from convsmith.training.tasks.super_resolution import SuperResolution as SuperResolution
from convsmith.training.tasks.task import IGNORED as IGNORED
from convsmith.training.tasks.task import Task as Task

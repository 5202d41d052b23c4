# SPDX-License-Identifier: Apache-2.0
"""Labelled images, and training a network on them."""

from convsmith.training import digits as digits
from convsmith.training.accuracy import Accuracy as Accuracy
from convsmith.training.accuracy import accuracy as accuracy
from convsmith.training.images import ImageSet as ImageSet
from convsmith.training.images import load_images as load_images
from convsmith.training.loop import Epoch as Epoch
from convsmith.training.loop import TrainingResult as TrainingResult
from convsmith.training.loop import train as train
from convsmith.training.network import TrainedNetwork as TrainedNetwork
from convsmith.training.network import train_network as train_network
from convsmith.training.network import training_data as training_data
from convsmith.training.split import TrainingData as TrainingData
from convsmith.training.split import split as split

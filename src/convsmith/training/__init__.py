# SPDX-License-Identifier: Apache-2.0
"""Data sets, and training a network on them."""

from convsmith.training.accuracy import Accuracy as Accuracy
from convsmith.training.accuracy import accuracy as accuracy
from convsmith.training.checkpoint import Checkpoints as Checkpoints
from convsmith.training.data import TrainingData as TrainingData
from convsmith.training.data import split as split
from convsmith.training.datasets import ImageSet as ImageSet
from convsmith.training.datasets import digits as digits
from convsmith.training.datasets import load_images as load_images
from convsmith.training.datasets.registry import DATASETS as DATASETS
from convsmith.training.datasets.registry import training_data as training_data
from convsmith.training.distributed import joined as joined
from convsmith.training.loop import Step as Step
from convsmith.training.loop import TrainingResult as TrainingResult
from convsmith.training.loop import train as train
from convsmith.training.network import TrainedNetwork as TrainedNetwork
from convsmith.training.network import train_network as train_network
from convsmith.training.recipe import Recipe as Recipe
from convsmith.training.state import Epoch as Epoch

# SPDX-License-Identifier: Apache-2.0
"""Published networks made of `convsmith.convs`: one file each, in folders by what
they do; `registry` lists them.

>>> from convsmith import models
>>> models.list("mobilenet_v?")
['mobilenet_v1', 'mobilenet_v2']
"""

from convsmith.models.loading import load_state as load_state
from convsmith.models.loading import read_state as read_state
from convsmith.models.loading import save_weights as save_weights
from convsmith.models.network import Model as Model
from convsmith.models.network import Network as Network
from convsmith.models.preprocess import Preprocess as Preprocess
from convsmith.models.registry import NETWORKS as NETWORKS
from convsmith.models.registry import create as create
from convsmith.models.registry import find as find
from convsmith.models.registry import load_weights as load_weights
from convsmith.models.registry import names as names

list = names

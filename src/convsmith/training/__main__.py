# SPDX-License-Identifier: Apache-2.0
"""`convsmith train` as a module: torchrun --nproc-per-node 2 -m -- convsmith.training ..."""

import sys

from convsmith.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()

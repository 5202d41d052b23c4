# SPDX-License-Identifier: Apache-2.0
"""Running a plan: tiles are read, computed and written, and each is recorded when it is durable."""

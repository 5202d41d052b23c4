# SPDX-License-Identifier: Apache-2.0
"""Images in files: one adapter a file. What a file claims is checked before it is believed."""

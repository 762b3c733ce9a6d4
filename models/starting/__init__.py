# SPDX-License-Identifier: Apache-2.0
"""The config that a model and a folder of photographs are enough for: labels, images to check on, and how images are prepared."""

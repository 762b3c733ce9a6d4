# SPDX-License-Identifier: Apache-2.0
"""Models that Keras 2 saved, built again from their configuration with the layers of Keras 3, their weights loaded and proven."""

# SPDX-License-Identifier: Apache-2.0
"""Small networks, one for each layer, activation and function of Keras that an image classifier can contain."""

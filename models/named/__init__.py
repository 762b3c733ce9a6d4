# SPDX-License-Identifier: Apache-2.0
"""Models that are known by name, such as MODEL=efficientnet_lite0: one module each."""

# SPDX-License-Identifier: Apache-2.0
"""Weights of a file compared with the model's constants, without images."""

# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models."""

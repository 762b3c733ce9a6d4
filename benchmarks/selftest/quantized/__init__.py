# SPDX-License-Identifier: Apache-2.0
"""Layers of quantized files, opened to change what can be wrong in them alone."""

# SPDX-License-Identifier: Apache-2.0
"""ONNX files in several precisions, all from one conversion."""

# SPDX-License-Identifier: Apache-2.0
"""Compilation for the Edge TPU with Google's compiler."""

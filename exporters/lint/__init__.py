# SPDX-License-Identifier: Apache-2.0
"""Finds what a TF Lite runtime or the Edge TPU rejects in a file, without running it."""

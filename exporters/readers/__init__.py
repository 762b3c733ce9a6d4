# SPDX-License-Identifier: Apache-2.0
"""Readers of exported files, which use their bytes alone."""

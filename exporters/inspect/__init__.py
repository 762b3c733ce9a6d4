# SPDX-License-Identifier: Apache-2.0
"""Inspection of exported files: what one holds, and whether it is what it claims to be."""

# SPDX-License-Identifier: Apache-2.0
"""Saved Core ML ML Programs, read from disk and evaluated by their specification, the Model Intermediate Language (MIL)."""

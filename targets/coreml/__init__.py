# SPDX-License-Identifier: Apache-2.0
"""Core ML packages: on a Mac, a phone, or evaluated from their specification."""

# SPDX-License-Identifier: Apache-2.0
"""Core ML packages."""

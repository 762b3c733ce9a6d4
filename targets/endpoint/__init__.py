# SPDX-License-Identifier: Apache-2.0
"""The HTTP endpoint: its program here, in its container, or running elsewhere."""

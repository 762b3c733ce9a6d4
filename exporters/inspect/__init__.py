# SPDX-License-Identifier: Apache-2.0
"""What an exported file holds."""

# SPDX-License-Identifier: Apache-2.0
"""What an artifact's difference comes from, in the terminal and in the report."""

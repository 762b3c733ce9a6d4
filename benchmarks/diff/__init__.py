# SPDX-License-Identifier: Apache-2.0
"""What is different between two builds of a classifier: its answers, its files, what made them."""

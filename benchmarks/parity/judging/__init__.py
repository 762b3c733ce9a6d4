# SPDX-License-Identifier: Apache-2.0
"""What judges the scores of one artifact: evidence, metrics, rules for integers, batches, metadata and weights."""

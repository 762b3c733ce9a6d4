# SPDX-License-Identifier: Apache-2.0
"""Many models checked in shards, on one machine or many, and merged into the reports that one machine would write."""

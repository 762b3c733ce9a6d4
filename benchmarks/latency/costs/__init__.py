# SPDX-License-Identifier: Apache-2.0
"""What an artifact costs in addition to its latency, one module per cost or family of costs; the folder is the registry."""

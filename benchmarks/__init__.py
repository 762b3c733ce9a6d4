# SPDX-License-Identifier: Apache-2.0
"""What the runs say: parity, latency, results and the report."""

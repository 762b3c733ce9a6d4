# SPDX-License-Identifier: Apache-2.0
"""The parity metrics; each module adds what it binds as METRICS."""

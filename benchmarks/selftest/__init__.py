# SPDX-License-Identifier: Apache-2.0
"""Proof that the check can fail: faults planted in copies of a model's real artifacts, each judged as the check judges."""

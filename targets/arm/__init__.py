# SPDX-License-Identifier: Apache-2.0
"""Artifacts on ARM processors, which QEMU emulates on any other machine: the same kernels as on a board or phone, never timed."""

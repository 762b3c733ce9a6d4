# SPDX-License-Identifier: Apache-2.0
"""This machine and those reached from it: installed packages, programs, GPUs, ssh."""

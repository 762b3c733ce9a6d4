# SPDX-License-Identifier: Apache-2.0
"""What runs on this machine or is reached from it: installed packages, programs, GPUs, ssh."""

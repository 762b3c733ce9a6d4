# SPDX-License-Identifier: Apache-2.0
"""TF Lite on boards and in old runtimes, driven by one program that imports nothing else."""

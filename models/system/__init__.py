# SPDX-License-Identifier: Apache-2.0
"""What every part needs of the machine: files, processes, the terminal, errors."""

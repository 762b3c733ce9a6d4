# SPDX-License-Identifier: Apache-2.0
"""The command line: one module per group of commands; each imports what it runs when it runs."""

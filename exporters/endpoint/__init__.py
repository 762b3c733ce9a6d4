# SPDX-License-Identifier: Apache-2.0
"""The program that answers over HTTP in a container; of this house it imports what exporters/container.py lists."""

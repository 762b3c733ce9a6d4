# SPDX-License-Identifier: Apache-2.0
"""The program that answers over HTTP in a container; it imports no other module of this house but models.preprocessing."""

# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of a container; of this package it imports only the modules that exporters/container.py lists."""

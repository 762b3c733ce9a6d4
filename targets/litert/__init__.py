# SPDX-License-Identifier: Apache-2.0
"""TF Lite files by LiteRT."""

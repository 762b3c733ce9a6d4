# SPDX-License-Identifier: Apache-2.0
"""What a TF Lite runtime or the Edge TPU will not run, found before anything runs."""

# SPDX-License-Identifier: Apache-2.0
"""What artifacts are checked with: the Keras model's scores, their order, probes, files to upload, and the reference of all."""

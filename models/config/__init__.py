# SPDX-License-Identifier: Apache-2.0
"""The TOML file that describes a classifier: reading it, starting one, and telling whether it fits the model."""

# SPDX-License-Identifier: Apache-2.0
"""What a model is: its config, its reference, its artifacts. Imports no other folder of the package."""

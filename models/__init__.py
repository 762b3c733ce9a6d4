# SPDX-License-Identifier: Apache-2.0
"""What a model is: its contract, its reference, its artifacts. Imports no other folder of the house."""

# SPDX-License-Identifier: Apache-2.0
"""The weights that files hold, read back as numbers, and the constants of the model that they come from."""

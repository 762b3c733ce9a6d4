# SPDX-License-Identifier: Apache-2.0
"""Places where artifacts run. Imports only models; a target is one module that ends in ``TARGETS``."""

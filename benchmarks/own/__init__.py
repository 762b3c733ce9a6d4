# SPDX-License-Identifier: Apache-2.0
"""The speed of edgeferry itself."""

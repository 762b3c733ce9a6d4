# SPDX-License-Identifier: Apache-2.0
"""Export to TF Lite files."""

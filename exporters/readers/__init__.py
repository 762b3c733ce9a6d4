# SPDX-License-Identifier: Apache-2.0
"""What reads exported files, from their bytes alone."""

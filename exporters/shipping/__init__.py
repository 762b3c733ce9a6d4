# SPDX-License-Identifier: Apache-2.0
"""What an app needs next to an artifact: labels, a test image with its tensor and scores, and exact code."""

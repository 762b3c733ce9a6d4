# SPDX-License-Identifier: Apache-2.0
"""What the classifier predicts in each precision, simulated on its frozen graph without any converter."""

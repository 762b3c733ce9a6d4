# SPDX-License-Identifier: Apache-2.0
"""Why an artifact's predictions differ from the Keras model's: at which stage, and in which layer."""

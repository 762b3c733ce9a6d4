# SPDX-License-Identifier: Apache-2.0
"""Does every artifact still predict like the Keras model?"""

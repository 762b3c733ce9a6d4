# SPDX-License-Identifier: Apache-2.0
"""Files compiled for the Edge TPU, and Google's compiler."""

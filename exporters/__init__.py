# SPDX-License-Identifier: Apache-2.0
"""One form of a classifier to another. Imports models only; a format is one module that ends in ``FORMATS``."""

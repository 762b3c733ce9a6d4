# SPDX-License-Identifier: Apache-2.0
"""A Keras file and what is made of it: checked without running it, loaded, and brought into the form that is exported."""

# SPDX-License-Identifier: Apache-2.0
"""How an image becomes pixels, in the part of Python that is also C++, Kotlin and Swift: the one description of all of them.

Values are whole numbers, floats, and arrays of bytes, whole numbers or floats; each variable is declared with its type where it
is first set. ``//`` has operands that are not negative. ``primitives`` holds what each language calls by another name.
"""

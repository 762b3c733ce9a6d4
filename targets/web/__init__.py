# SPDX-License-Identifier: Apache-2.0
"""Runtimes written in JavaScript: in browsers and in Node."""

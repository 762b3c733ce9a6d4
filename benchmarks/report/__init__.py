# SPDX-License-Identifier: Apache-2.0
"""The results as a table, a page, Markdown and JSON."""

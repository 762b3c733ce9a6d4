# SPDX-License-Identifier: Apache-2.0
"""What a process owns while it runs, and the limits that it sets on itself."""

# SPDX-License-Identifier: Apache-2.0
"""The faults that are planted; each module adds what it binds as FAULTS."""

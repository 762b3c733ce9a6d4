# SPDX-License-Identifier: Apache-2.0
"""How long does every artifact take, and what else does it cost?"""

# SPDX-License-Identifier: Apache-2.0
"""A certificate: what was checked and found, by digest, so that somebody else can see later whether it still holds."""

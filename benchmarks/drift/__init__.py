# SPDX-License-Identifier: Apache-2.0
"""Do new images still look like those that an artifact was checked on, and does it answer them as it answered those?"""

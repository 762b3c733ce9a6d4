# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's own files, the intermediate representation (IR)."""

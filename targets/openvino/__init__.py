# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on this machine's CPU."""

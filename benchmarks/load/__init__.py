# SPDX-License-Identifier: Apache-2.0
"""The endpoint under load: CPU time of a request next to the runtime alone, and a ramp of users by locust."""

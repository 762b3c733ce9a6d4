# SPDX-License-Identifier: Apache-2.0
"""What a CI job runs: checks of bundles, comparisons of builds, and reports for the system that runs the job."""

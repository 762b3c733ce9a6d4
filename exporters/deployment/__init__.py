# SPDX-License-Identifier: Apache-2.0
"""Where a container runs: manifests for Kubernetes, KServe, Knative and Docker Compose, all from one description."""

# SPDX-License-Identifier: Apache-2.0
"""The messages of the Open Inference Protocol over gRPC, which the endpoint and its clients share."""

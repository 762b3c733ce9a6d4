# SPDX-License-Identifier: Apache-2.0
"""Operations written as others that more formats have, or that quantize better; each module is a family of rewrites."""

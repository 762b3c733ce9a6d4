# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU by LiteRT's own kernels, whose integers those of compiled files are compared with.

XNNPACK, LiteRT's default, rounds integers differently; the Edge TPU and old runtimes follow TF Lite's own kernels.
"""

from dataclasses import replace
from typing import Any

from edgeferry.targets.host.installed import needs, versions
from edgeferry.targets.litert.arena import arena_bytes
from edgeferry.targets.litert.cpu import opened
from edgeferry.targets.litert.tensors import tensors
from edgeferry.targets.target import Job, Run, Session, Target
from edgeferry.targets.timing import run_of


def _run(job: Job) -> Run:
    return run_of(_open(job), job)


def _open(job: Job) -> Session:
    return replace(opened(job, **_without_xnnpack()), keeps_integers=True)


def _arena_bytes(job: Job) -> int:
    return arena_bytes(job, **_without_xnnpack())


def _without_xnnpack() -> dict[str, Any]:
    """Return the interpreter's options that leave out XNNPACK."""
    from ai_edge_litert.interpreter import OpResolverType

    return {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


TARGETS = (
    Target(
        name="litert-builtin",
        summary="this CPU, by LiteRT without XNNPACK",
        reads=frozenset({"tflite"}),
        missing=needs("ai_edge_litert"),
        run=_run,
        versions=versions("ai-edge-litert", "numpy"),
        by_default=False,
        computes_integers=True,
        side_by_side=True,
        open=_open,
        arena=_arena_bytes,
        tensors=tensors,
    ),
)

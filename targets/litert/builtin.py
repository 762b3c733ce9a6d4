# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU by LiteRT's own kernels: the integers that other runtimes' integers are held to.

XNNPACK, LiteRT's default, rounds integers otherwise; TF Lite's own kernels are what the Edge TPU and old runtimes follow.
"""

from dataclasses import replace
from typing import Any, Final

from edgeferry.targets.host.installed import needs, versions
from edgeferry.targets.litert.arena import arena_bytes
from edgeferry.targets.litert.cpu import opened
from edgeferry.targets.target import Job, Run, Session, Target
from edgeferry.targets.timing import run_of

NAME: Final = "litert-builtin"


def _run(job: Job) -> Run:
    return run_of(_open(job), job)


def _open(job: Job) -> Session:
    return replace(opened(job, **_without_xnnpack()), keeps_integers=True)


def _arena_bytes(job: Job) -> int:
    return arena_bytes(job, **_without_xnnpack())


def _without_xnnpack() -> dict[str, Any]:
    """Return the interpreter's options for that."""
    from ai_edge_litert.interpreter import OpResolverType

    return {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


TARGETS = (
    Target(
        name=NAME,
        summary="this CPU, by LiteRT without XNNPACK",
        reads=frozenset({"tflite"}),
        missing=needs("ai_edge_litert"),
        run=_run,
        versions=versions("ai-edge-litert", "numpy"),
        by_default=False,
        open=_open,
        arena=_arena_bytes,
    ),
)

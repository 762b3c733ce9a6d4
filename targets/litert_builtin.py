# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU by LiteRT's own kernels: the integers that other runtimes' integers are held to.

XNNPACK, LiteRT's default, rounds integers otherwise; TF Lite's own kernels are what the Edge TPU and old runtimes follow.
"""

from dataclasses import replace
from typing import Final

from targets.installed import needs, versions
from targets.litert import opened
from targets.target import Job, Run, Session, Target
from targets.timing import run_of

NAME: Final = "litert-builtin"


def _run(job: Job) -> Run:
    return run_of(_open(job), job)


def _open(job: Job) -> Session:
    from ai_edge_litert.interpreter import OpResolverType

    session = opened(job, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    return replace(session, keeps_integers=True)


TARGETS = (
    Target(
        name=NAME,
        summary="this CPU, by LiteRT without XNNPACK",
        reads=frozenset({"tflite"}),
        missing=needs("ai_edge_litert"),
        run=_run,
        versions=versions("ai-edge-litert", "numpy"),
        asked_by_default=False,
        open=_open,
    ),
)

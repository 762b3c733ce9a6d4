# SPDX-License-Identifier: Apache-2.0
"""The results of checks as pytest's items: collected without running anything, each run by itself."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

from edgeferry.benchmarks.parity.required import SAY_NOTHING, check_required
from edgeferry.benchmarks.parity.singly import PlannedResult, SingleChecks, planned_results
from edgeferry.commands.arguments import BUILD, build_to_read
from edgeferry.models.exports import set_by_config
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.text import plain
from edgeferry.targets.target import choose, targets

if TYPE_CHECKING:
    from edgeferry.benchmarks.parity.rows import Row

MARKER: Final = "edgeferry"


class ResultError(Exception):
    """A result that did not pass: its text is all that a person needs, no traceback."""


@dataclass(frozen=True)
class CheckedBuild:
    """A build folder, the results planned for it, what runs them, and what of them has to pass."""

    place: Path
    planned: tuple[PlannedResult, ...]
    checks: SingleChecks
    required: tuple[str, ...]

    def missed(self, planned: PlannedResult, outcome: str) -> bool:
        """Return whether a result that did not pass is required to."""
        if f"{planned.format}@{planned.target_name}" in self.required:
            return True
        if planned.format not in self.required:
            return False
        # Another target may pass, unless none is here.
        return outcome not in SAY_NOTHING or all(each.missing for each in self.planned if each.format == planned.format)

    def without_result(self) -> Iterator[str]:
        """Yield what is required and has no result."""
        there = {name for each in self.planned for name in (each.format, f"{each.format}@{each.target_name}")}
        yield from (each for each in self.required if each not in there)


class ResultTests:
    """The plugin that adds a test for each result of the models named by ``--edgeferry``."""

    def __init__(self, config: pytest.Config) -> None:
        """Read what was exported, and register the markers."""
        config.addinivalue_line("markers", f"{MARKER}: checks an exported artifact against the Keras model")
        for target in targets().values():
            config.addinivalue_line("markers", f"{target.name}: runs on the target of this name, {target.summary}")
        self._running = ExitStack()
        try:
            chosen = choose(tuple(config.getoption("edgeferry_target")) or None)
            required = tuple(config.getoption("edgeferry_require"))
            check_required(required, "--edgeferry-require")
            self._builds = [self._opened(model, chosen, required) for model in config.getoption("edgeferry")]
        except EdgeError as error:
            raise pytest.UsageError(f"{plain(str(error))} [{error.code}]") from None

    def _opened(self, model: str, chosen: Any, required: tuple[str, ...]) -> CheckedBuild:
        spec, place = build_to_read(model, BUILD)
        checks = self._running.enter_context(SingleChecks(place, None if spec is None else set_by_config(spec)))
        required = (*(spec.required if spec else ()), *required)
        return CheckedBuild(place, tuple(planned_results(place, chosen)), checks, required)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the tests, before pytest selects some by name and marker."""
        for build in self._builds:
            near = build.place.is_relative_to(session.config.rootpath)
            name = build.place.relative_to(session.config.rootpath) if near else build.place
            tests = BuildTests.from_parent(session, name=build.place.name, nodeid=name.as_posix(), build=build)
            items.extend(session.genitems(tests))

    def pytest_unconfigure(self) -> None:
        """End the child processes."""
        self._running.close()


class BuildTests(pytest.Collector):
    """The tests of one build folder."""

    def __init__(self, *, build: CheckedBuild, **how: Any) -> None:
        """Hold the build folder."""
        super().__init__(**how)
        self._build = build

    def collect(self) -> list[pytest.Item]:
        """Return a test for each result, and one for each requirement that has none."""
        results: list[pytest.Item] = [
            ResultItem.from_parent(self, name=_name_of(each), planned=each, build=self._build) for each in self._build.planned
        ]
        return [*results, *(RequiredItem.from_parent(self, name=each) for each in self._build.without_result())]


def _name_of(planned: PlannedResult) -> str:
    # As pytest names parameters; -k takes no "@".
    return planned.format if planned.target is None else f"{planned.format}[{planned.target.name}]"


class EdgeferryItem(pytest.Item):
    """A test whose failure is shown as its text alone."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the text of a result that did not pass; of a defect, the traceback."""
        error = excinfo.value
        if isinstance(error, EdgeError):
            return f"{plain(str(error))} [{error.code}]"
        return str(error) if isinstance(error, ResultError) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the test is, and its name."""
        return self.path, 0, self.name


class RequiredItem(EdgeferryItem):
    """A requirement that no result is for: it fails."""

    def runtest(self) -> NoReturn:
        """Fail."""
        raise ResultError(f"{self.name} is required to pass: there is no result for it")


class ResultItem(EdgeferryItem):
    """One format on one target."""

    def __init__(self, *, planned: PlannedResult, build: CheckedBuild, **how: Any) -> None:
        """Mark the test by its target; one that cannot run here is skipped, or fails where it is required."""
        super().__init__(**how)
        self._planned, self._build = planned, build
        self.add_marker(MARKER)
        if planned.target is not None:
            self.add_marker(planned.target.name)
        if planned.missing and not build.missed(planned, "not run"):
            self.add_marker(pytest.mark.skip(reason=f"not run: {plain(planned.missing)}"))

    def runtest(self) -> None:
        """Run the artifact and judge it."""
        if self._planned.missing:
            raise ResultError(f"required to pass: not run: {plain(self._planned.missing)}")
        row = self._build.checks.row(self._planned)
        self.user_properties += [("images", row.verdict.images), *row.verdict.metrics.items()]
        if row.outcome == "failed":
            raise ResultError(_text_of(row))
        if row.outcome != "passed":
            if self._build.missed(self._planned, row.outcome):
                raise ResultError(f"required to pass: {_text_of(row)}")
            pytest.skip(_text_of(row))


def _text_of(row: "Row") -> str:
    code = f" [{plain(row.verdict.code)}]" if row.verdict.code else ""
    return f"{row.outcome}: {plain(row.reason) or 'no reason given'}{code}"

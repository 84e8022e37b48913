"""The pytest plugin: `pytest --simbench` collects every `*.golden.json` file, one test for each golden value.

pytest loads it in every project that has simbench installed, so without the option it does nothing and imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simbench.gates.quality import Check, Gate

GOLDEN = ".golden.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--simbench` and its options."""
    group = parser.getgroup("simbench", "gates of generative models")
    group.addoption(
        "--simbench", action="store_true", help=f"Collect *{GOLDEN} files and gate the generators they name."
    )
    group.addoption(
        "--simbench-repetitions", type=int, default=1, metavar="N", help="Repetitions to gate with (default: 1)."
    )
    group.addoption(
        "--simbench-device", default="cpu", metavar="NAME", help="auto, cpu, cuda or cuda:N (default: cpu)."
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> GoldenFile | None:
    """A golden file, where `--simbench` asks for it."""
    if not parent.config.getoption("--simbench") or not file_path.name.endswith(GOLDEN):
        return None
    return GoldenFile.from_parent(parent, path=file_path)


class GateFailure(Exception):
    """A golden value that was not kept; shown as its sentence, without a traceback."""


class GoldenFile(pytest.File):
    """A golden file. Its generator is run once, when the first of its tests is."""

    _outcome: Gate | Exception | None = None

    def collect(self) -> Iterator[GoldenItem]:
        """One item for each golden value."""
        from simbench.core.errors import SimbenchError
        from simbench.gates.golden import read_golden

        try:
            self.entry = read_golden(self.path).current
        except SimbenchError as error:
            raise self.CollectError(str(error)) from error
        for value in self.entry.values:
            yield GoldenItem.from_parent(self, name=value.key)

    def check(self, key: str) -> Check:
        """The check of a golden value. Raises SimbenchError where the generator could not be run."""
        if self._outcome is None:
            try:
                self._outcome = self._run()
            except Exception as error:  # every test of the file fails with it, and the generator is not run again
                self._outcome = error
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return next(check for check in self._outcome.checks if check.golden.key == key)

    def _run(self) -> Gate:
        from simbench.core.devices import choose_device
        from simbench.core.progress import Progress
        from simbench.gates.quality import gate
        from simbench.gates.run import Request, run_for_gate

        request = Request(
            repetitions=self.config.getoption("--simbench-repetitions"),
            device=choose_device(self.config.getoption("--simbench-device")),
        )
        result = run_for_gate(request, self.entry, command="pytest --simbench", progress=Progress(quiet=True))
        return gate(result, self.entry)


class GoldenItem(pytest.Item):
    """The test of one golden value."""

    def runtest(self) -> None:
        """Fail where it is worse by more than chance or has no value; warn where it is better by more than chance."""
        assert isinstance(self.parent, GoldenFile)
        check = self.parent.check(self.name)
        if check.status in ("regression", "missing"):
            raise GateFailure(check.sentence())
        if check.status == "skipped":
            pytest.skip(check.sentence())
        if check.status == "improved":
            self.warn(pytest.PytestWarning(check.sentence()))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """A sentence for what simbench says on purpose, a traceback for the rest."""
        from simbench.core.errors import SimbenchError

        if isinstance(excinfo.value, (GateFailure, SimbenchError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the test is shown to be."""
        return self.path, 0, f"{self.path.name}: {self.name}"

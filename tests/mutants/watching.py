"""Which tests pass which lines of the code that is changed: a plugin of pytest, loaded by `run.py --watch`.

Each process of the tests writes files of lines and tests, and of how long each took; `Map` joins them.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

FOLDER = "VELODROME_MUTANTS_MAP"  # where the files go
FILES = "VELODROME_MUTANTS_FILES"  # patterns of the code that is looked at, parted by ":"
TIMES = "times-"


class Watcher:
    """One process's tests."""

    def __init__(self, folder: Path, files: list[str]) -> None:
        self.times: dict[str, float] = defaultdict(float)
        self.folder = folder
        self.coverage = coverage.Coverage(
            data_file=str(folder / "lines"), data_suffix=True, include=files, config_file=False
        )
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """The lines of a test and of its fixtures bear its name."""
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Sums the phases of a test."""
        self.times[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Writes the files."""
        self.coverage.stop()
        self.coverage.save()
        (self.folder / f"{TIMES}{os.getpid()}.json").write_text(json.dumps(self.times))


def pytest_configure(config: pytest.Config) -> None:
    """The process that hands out the tests runs none itself."""
    if os.environ.get(FOLDER) and getattr(config.option, "dist", "no") == "no":
        config.pluginmanager.register(Watcher(Path(os.environ[FOLDER]), os.environ[FILES].split(":")))


class Map:
    """What the files of a folder hold.

    Attributes:
        seconds: how long each test took, by its name.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self.seconds: dict[str, float] = {}
        for path in folder.glob(f"{TIMES}*.json"):
            self.seconds |= json.loads(path.read_text())
        self._data = coverage.CoverageData(no_disk=True)
        for path in sorted(folder.glob("lines.*")):
            part = coverage.CoverageData(basename=str(path))
            part.read()
            self._data.update(part)
        self._lines: dict[str, dict[int, list[str]]] = {}

    def tests_of(self, path: str, first: int, last: int) -> list[str]:
        """The tests that pass a line of a file from `first` to `last`, the quickest first."""
        if path not in self._lines:
            self._lines[path] = self._data.contexts_by_lineno(str(self.root / path))
        found = {test for line in range(first, last + 1) for test in self._lines[path].get(line, ()) if test}
        return sorted(found & self.seconds.keys(), key=lambda test: (self.seconds[test], test))

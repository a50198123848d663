"""Records which lines of the product each test reaches and what it costs, and chooses by that.

A plugin of pytest, for one process that runs tests one after another. `.ci/mutants.py` starts it:

    REACHED=build/mutants/map/tests.data python -m pytest -n 0 -p reached tests/data/test_*.py

It writes REACHED.coverage, in which the context of a line is the test that ran it, and REACHED.json
with seconds of CPU and the outcome per test. Fixtures of a module or a session are contexts of
their own: their lines are reached by every test that requests them, and not only by the first.
Lines that run in other processes are not recorded; those of a cache count for the first test.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import coverage
import pytest
from mutation_sites import PACKAGES, Place


def used() -> float:
    """Returns the seconds of CPU that this process and its ended children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def key(fixture: pytest.FixtureDef) -> str:
    """Returns the context of a fixture that several tests share."""
    return f"fixture {fixture.baseid}::{fixture.argname}"


class Recorder:
    """Switches contexts, and adds up what tests and shared fixtures cost.

    Attributes:
        tests: per test its seconds, its outcome and the shared fixtures that it requests.
        fixtures: seconds per shared fixture.
    """

    def __init__(self, out: Path):
        self.out = out
        self.tests: dict[str, dict] = {}
        self.fixtures: dict[str, float] = {}
        self.contexts: list[str] = []
        self.lines = coverage.Coverage(
            data_file=f"{out}.coverage",
            include=[f"{package}/*" for package in PACKAGES],
            config_file=False,
            messages=False,
        )
        self.lines.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Runs a test in a context of its own."""
        shared = [
            key(fixtures[-1])
            for fixtures in getattr(item, "_fixtureinfo").name2fixturedefs.values()  # noqa: B009
            if fixtures[-1].scope != "function"
        ]
        self.tests[item.nodeid] = record = {"seconds": 0.0, "passed": True, "shared": shared}
        before, prepared = used(), sum(self.fixtures.values())
        self._enter(item.nodeid)
        try:
            return (yield)
        finally:
            self._leave()
            prepared = sum(self.fixtures.values()) - prepared
            record["seconds"] = round(used() - before - prepared, 2)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef) -> Iterator[None]:
        """Sets up a shared fixture in a context of its own."""
        if fixturedef.scope == "function":
            return (yield)
        before, nested = used(), sum(self.fixtures.values())
        self._enter(key(fixturedef))
        try:
            return (yield)
        finally:
            self._leave()
            spent = used() - before - (sum(self.fixtures.values()) - nested)
            self.fixtures[key(fixturedef)] = self.fixtures.get(key(fixturedef), 0.0) + spent

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes a test that did not pass."""
        self.tests[report.nodeid]["passed"] &= report.passed

    def pytest_sessionfinish(self) -> None:
        """Writes the lines, then what the tests cost."""
        self.lines.stop()
        self.lines.save()
        content = {"tests": self.tests, "fixtures": self.fixtures}
        Path(f"{self.out}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _enter(self, context: str) -> None:
        self.contexts.append(context)
        self.lines.switch_context(context)

    def _leave(self) -> None:
        self.contexts.pop()
        self.lines.switch_context(self.contexts[-1] if self.contexts else "")


class Reach:
    """Which tests reach which lines of a copy of the tree, and what each test costs.

    Attributes:
        tests: per test its seconds and the fixtures that it shares with others.
        fixtures: seconds per shared fixture.
        left_out: tests that fail without any mutant.
    """

    def __init__(self, copy: Path, folder: Path):
        self.copy, self.left_out_file = copy, folder / "left_out.txt"
        self.tests: dict[str, dict] = {}
        self.fixtures: dict[str, float] = {}
        self.data: list[coverage.CoverageData] = []
        self.left_out: set[str] = set()
        self.files: dict[str, dict[int, set[str]]] = {}
        self.users: dict[str, set[str]] = defaultdict(set)
        for path in sorted(folder.glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            self.tests |= {name: test for name, test in content["tests"].items() if test["passed"]}
            for name, seconds in content["fixtures"].items():
                self.fixtures[name] = max(seconds, self.fixtures.get(name, 0.0))
            self.data.append(coverage.CoverageData(str(path.with_suffix(".coverage"))))
            self.data[-1].read()
        for name, test in self.tests.items():
            for fixture in test["shared"]:
                self.users[fixture].add(name)
        if self.left_out_file.exists():
            self.left_out = set(self.left_out_file.read_text(encoding="utf-8").splitlines())

    def leave_out(self, test: str) -> None:
        """Leaves out a test from now on, in later processes too."""
        self.left_out.add(test)
        with self.left_out_file.open("a", encoding="utf-8") as out:
            out.write(f"{test}\n")

    def contexts(self, file: str) -> dict[int, set[str]]:
        """Returns the contexts that ran each line of a file."""
        if file not in self.files:
            lines = self.files[file] = defaultdict(set)
            for data in self.data:
                for line, names in data.contexts_by_lineno(str(self.copy / file)).items():
                    lines[line].update(names)
        return self.files[file]

    def of_lines(self, file: str, lines: Iterable[int]) -> set[str]:
        """Returns the tests that run one of these lines, themselves or by a fixture."""
        contexts = self.contexts(file)
        names = {name for line in lines for name in contexts.get(line, ())}
        tests = set().union(*(self.users[name] for name in names if name.startswith("fixture ")))
        return ((tests | names) & self.tests.keys()) - self.left_out

    def of(self, place: Place) -> set[str]:
        """Returns the tests that reach a place."""
        file, around = place.site.file, place.around
        if not around.at_import:
            return self.of_lines(file, range(around.lines[0], around.lines[1] + 1))
        tests = self.of_lines(file, range(around.scope[0], around.scope[1] + 1))
        for name in around.assigned:
            tests |= self._naming(rf"\.{name}\b|\b{name}=" if around.scope[0] else rf"\b{name}\b")
        return tests

    def _naming(self, pattern: str) -> set[str]:
        """Returns the tests that run a line of the product with this pattern."""
        tests: set[str] = set()
        for package in PACKAGES:
            for path in (self.copy / package).rglob("*.py"):
                source = path.read_text(encoding="utf-8").splitlines()
                lines = [n for n, line in enumerate(source, 1) if re.search(pattern, line)]
                if lines:
                    tests |= self.of_lines(path.relative_to(self.copy).as_posix(), lines)
        return tests

    def mirrored(self, file: str) -> set[str]:
        """Returns the tests of the file or the folder that mirrors a file of the product."""
        path = Path(file)
        beside = f"tests/{path.parent}/test_{path.stem}"
        below = {test for test in self.tests if test.startswith(beside)} - self.left_out
        near = {test for test in self.tests if path.stem in test.partition("::")[0]} - self.left_out
        return below or near

    def chosen(self, file: str, tests: set[str], most: int, seconds: float) -> list[str]:
        """Returns tests of as many files as possible, within a number and seconds, file by file."""
        queues: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=self._cost):
            queues[test.partition("::")[0]].append(test)
        near = {test.partition("::")[0] for test in self.mirrored(file)}
        order = sorted(queues, key=lambda file: (file not in near, self._cost(queues[file][0])))
        picked: dict[str, list[str]] = {file: [] for file in order}
        paid: set[str] = set()
        spent = 0.0
        for number in range(max(map(len, queues.values()), default=0)):
            for file in order:
                if number < len(queues[file]) and sum(map(len, picked.values())) < most:
                    test = queues[file][number]
                    cost = self._cost(test, paid)
                    if spent + cost <= seconds or not spent:
                        picked[file].append(test)
                        spent += cost
                        paid.update(self.tests[test]["shared"])
        return [test for file in order for test in picked[file]]

    def _cost(self, test: str, paid: Iterable[str] = ()) -> float:
        fixtures = set(self.tests[test]["shared"]).difference(paid)
        return self.tests[test]["seconds"] + sum(self.fixtures.get(name, 0) for name in fixtures)

    def cost(self, tests: list[str]) -> float:
        """Returns the seconds of CPU that these tests take in one process."""
        fixtures = {name for test in tests for name in self.tests[test]["shared"]}
        own = sum(self.tests[test]["seconds"] for test in tests)
        return own + sum(self.fixtures.get(name, 0) for name in fixtures)


def pytest_configure(config: pytest.Config) -> None:
    """Begins to record before any test file is imported."""
    config.pluginmanager.register(Recorder(Path(os.environ["REACHED"]).absolute()))

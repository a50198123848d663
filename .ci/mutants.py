"""Measures what the tests protect: of N small changes of the product, how many make a test fail.

    .ci/mutants.py draw LIST --seed 64 --count 300       # sites, uniformly over lines that have one
    .ci/mutants.py run LIST OUTCOMES                      # begins, or goes on where it was ended
    .ci/mutants.py run LIST OUTCOMES --slow               # slow tests, on what escaped the others
    .ci/mutants.py show LIST OUTCOMES                     # counts, and what escaped
    .ci/mutants.py find LIST FOUND --tree ../other        # the same sites, or their successors

In the background and on one core, as nothing is lost when it is killed (`--tree` defaults to the
current folder, and `--python` to its .venv/bin/python, which needs `pip install coverage` once):

    nice -n 19 taskset -c 0 setsid .venv/bin/python .ci/mutants.py run \\
        .ci/mutants/list.csv .ci/mutants/before.csv --at before-rim &

`run` works on a copy of the tree's commit in build/mutants/tree, and leaves the tree itself alone.
It first records which of the quick tests reach which line, one folder of tests after another
(`reached.py`). A mutant is run against the tests that reach its statement, in one process: in turns
the cheapest of each test file, those of the mirrored file first, until `--tests` or `--seconds` of
CPU are reached. A line that runs only at import has the tests of its function or class, or of all
lines that name what it assigns. A failing test is run again without the mutant; one that fails
there too is left out from then on. Outcomes:

    caught     a test fails, or its file cannot be collected
    timeout    the process used far more CPU than these tests take, or did not end: caught as well
    escaped    all tests pass
    unreached  no test reaches the statement, and those of the mirrored file pass

With `--slow` the same is done with the tests marked slow, for mutants that no quick test caught.
For example `caught, tests/data/test_urls.py::test_hosts[1]`, with 80 tests that reach the line and
12 that passed before. The column `equivalent` of LIST is a person's: why a mutant changes nothing
that can be observed.

mutmut and cosmic-ray were looked at: neither draws sites by a seed, finds them again in another
tree, or chooses tests by a map; mutmut leaves out code outside of functions.
"""

import argparse
import csv
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mutation_sites
import pytest
from mutation_sites import Place, Row, draw, find, read_list, write_list

if TYPE_CHECKING:  # it needs `coverage`, which the processes of mutants do without
    from reached import Reach

CAUGHT, ESCAPED, UNREACHED, TIMEOUT = "caught", "escaped", "unreached", "timeout"
OUTCOMES = ("id", "outcome", "by", "reason", "reach", "chosen", "passed", "seconds", "tests")
QUICK, SLOW = "quick", "slow"
LONGEST = 3600  # seconds of a process that waits instead of working
MEMORY = 12 * 2**30


class Chosen:
    """A plugin of pytest that runs some tests in their order, and writes what came of them."""

    def __init__(self, tests: list[str], out: Path):
        self.rank = {test: number for number, test in enumerate(tests)}
        self.out = out
        self.result: dict[str, Any] = {"passed": 0, "failed": None, "reason": ""}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves out what was not chosen."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self.rank),
            key=lambda item: self.rank[item.nodeid],
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notes a file that cannot be collected."""
        self._note(report.nodeid, report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes the first test that fails."""
        self.result["passed"] += report.when == "call" and report.passed
        self._note(report.nodeid, report)

    def _note(self, test: str, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.failed and self.result["failed"] is None:
            lines = re.findall(r"^E +(.+)", str(report.longrepr), re.MULTILINE)
            reason = " ".join((lines[0] if lines else str(report.longrepr)[-200:]).split())
            reason = reason.replace(f"{self.out.parent}/", "")[:160]
            self.result |= {"failed": test, "reason": reason}

    def pytest_sessionfinish(self) -> None:
        """Writes the result."""
        self.out.write_text(json.dumps(self.result), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the chosen tests, as this file is a plugin of the processes that it starts."""
    if "CHOSEN" in os.environ:
        chosen = json.loads(Path(os.environ["CHOSEN"]).read_text(encoding="utf-8"))
        config.pluginmanager.register(Chosen(chosen, Path(os.environ["CHOSEN"] + ".result")))


class Workshop:
    """A copy of a commit of the tree, and the processes of pytest that run in it."""

    def __init__(self, tree: Path, commit: str, python: Path):
        self.folder, self.python = tree / "build/mutants", python
        self.copy = self.folder / "tree"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = (self.folder / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one at a time changes the copy
        commit = _git(tree, "rev-parse", f"{commit}^{{commit}}")
        if not self.copy.exists():
            _git(tree, "worktree", "prune")
            _git(tree, "worktree", "add", "--detach", str(self.copy), commit)
        if (found := _git(self.copy, "rev-parse", "HEAD")) != commit:
            sys.exit(f"{commit} was asked and {self.copy} has {found}: remove {self.folder} first.")
        _git(self.copy, "checkout", "--", *mutation_sites.PACKAGES)
        if not (self.copy / ".venv").exists():
            (self.copy / ".venv").symlink_to(python.parents[1])

    def record(self, marks: str) -> "Reach":
        """Records which tests reach which lines, in folders of tests that are not yet recorded."""
        out = self.folder / ("map" if marks == QUICK else f"map-{marks}")
        out.mkdir(exist_ok=True)
        files = (self.copy / "tests").rglob("test_*.py")
        folders = {file.relative_to(self.copy).parent for file in files}
        for folder in sorted(path for path in folders if path.parts[:2] != ("tests", "engines")):
            target = out / ".".join(folder.parts)
            if not target.with_name(f"{target.name}.json").exists():
                target.with_name(f"{target.name}.coverage").unlink(missing_ok=True)
                paths = sorted(map(str, (self.copy / folder).glob("test_*.py")))
                print(f"recording {folder}", flush=True)
                selected = [] if marks == QUICK else ["-m", marks]
                self._start(["-p", "reached", *selected, *paths], {"REACHED": str(target)})
        from reached import Reach

        return Reach(self.copy, out)

    def outcome(self, reach: "Reach", place: Place, most: int, seconds: float) -> dict[str, Any]:
        """Returns what the tests made of a mutant."""
        began = _used()
        while True:
            tests = reach.of(place)
            own = tests or reach.mirrored(place.site.file)
            chosen = reach.chosen(place.site.file, own, most, seconds)
            result = self._with_mutant(reach, place, chosen)
            failed = result["failed"]
            if failed is None or not self._fails_without(reach, failed, chosen):
                break
        kept = ESCAPED if tests else UNREACHED
        outcome = TIMEOUT if failed == TIMEOUT else CAUGHT if failed is not None else kept
        return {
            "outcome": outcome, "by": "" if failed in (None, TIMEOUT) else failed,
            "reason": result["reason"], "reach": len(tests), "chosen": len(chosen),
            "passed": result["passed"], "seconds": round(_used() - began, 1),
        }  # fmt: skip

    def _with_mutant(self, reach: "Reach", place: Place, chosen: list[str]) -> dict[str, Any]:
        """Runs tests with the file of a place changed, and puts the file back as it was."""
        path = self.copy / place.site.file
        source, times = path.read_bytes(), path.stat()
        path.write_text(place.mutant(), encoding="utf-8")
        try:
            return self.result(chosen, reach.cost(chosen))
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # its compiled form is valid

    def _fails_without(self, reach: "Reach", failed: str, chosen: list[str]) -> bool:
        """Whether a test fails without the mutant as well; then it is left out."""
        if failed == TIMEOUT:
            return False
        same = [test for test in chosen if test == failed or test.startswith(f"{failed}::")]
        if not same or self.result(same, reach.cost(same))["failed"] is None:
            return False
        for test in same:
            reach.leave_out(test)
        return True

    def result(self, tests: list[str], expected: float) -> dict[str, Any]:
        """Runs tests in the copy until one fails; returns that one, why, and how many passed."""
        if not tests:
            return {"passed": 0, "failed": None, "reason": "no tests"}
        chosen = self.folder / "chosen.json"
        result = chosen.with_name("chosen.json.result")
        result.unlink(missing_ok=True)
        chosen.write_text(json.dumps(tests), encoding="utf-8")
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        environment = {"CHOSEN": str(chosen), "PYTHONDONTWRITEBYTECODE": "1"}
        self._start(["-x", "-m", "", "-p", "mutants", *files], environment, int(120 + 4 * expected))
        if not result.exists():
            return {"passed": 0, "failed": TIMEOUT, "reason": f"{expected:.0f} s were expected"}
        return json.loads(result.read_text(encoding="utf-8"))

    def _start(self, arguments: list[str], variables: dict[str, str], seconds: int = 0) -> None:
        """Runs pytest in the copy with at most these seconds of CPU per process."""
        # Examples that failed in other mutants are tried first otherwise.
        shutil.rmtree(self.copy / ".hypothesis", ignore_errors=True)
        own = Path(__file__).resolve().parent
        environment = os.environ | {"PYTHONPATH": f"{self.copy}:{own}"} | variables
        if "PYTHONDONTWRITEBYTECODE" not in variables:
            environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def limit() -> None:
            if seconds:
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
                resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))

        command = [str(self.python), "-m", "pytest", "-n", "0", "-p", "no:cacheprovider"]
        command += ["--hypothesis-seed=0", f"--basetemp={self.folder / 'tmp'}", *arguments]
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.copy, env=environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, preexec_fn=limit, start_new_session=True,
            )  # fmt: skip
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LONGEST if seconds else None)
            finally:
                _end_group(process.pid)
                process.wait()


def _end_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _used() -> float:
    """Returns the seconds of CPU of all ended children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _git(tree: Path, *arguments: str) -> str:
    command = ["git", "-C", str(tree), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run(rows: list[Row], outcomes: Path, workshop: Workshop, options: argparse.Namespace) -> None:
    """Runs the mutants without an outcome, and appends each outcome as it comes."""
    marks = SLOW if options.slow else QUICK
    before = read_outcomes(outcomes)
    done = {row["id"] for row in before if row["tests"] == marks}
    if options.slow:
        done |= {row["id"] for row in last_outcomes(before) if row["outcome"] in (CAUGHT, TIMEOUT)}
    reach = workshop.record(marks)
    places = {place.site[:6]: place for place in mutation_sites.places(workshop.copy)}
    for row in rows[: options.count]:
        if row.id not in done and row.found != "gone":
            place = places[row.site[:6]]
            outcome = workshop.outcome(reach, place, options.tests, options.seconds)
            append_outcome(outcomes, {"id": row.id} | outcome | {"tests": marks})
            print(row.id, row.site.file, row.site.line, *outcome.values(), flush=True)


def read_outcomes(path: Path) -> list[dict[str, str]]:
    """Returns the outcomes so far."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def last_outcomes(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Returns one outcome per mutant: that of the slow tests, unless they do not reach it."""
    last: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["id"] not in last or row["outcome"] != UNREACHED:
            last[row["id"]] = row
    return list(last.values())


def append_outcome(path: Path, outcome: dict[str, Any]) -> None:
    """Appends one outcome."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, OUTCOMES, lineterminator="\n")
        if is_new:
            out.writeheader()
        out.writerow(outcome)


def show(rows: list[Row], outcomes: list[dict[str, str]]) -> None:
    """Prints counts per package, and each mutant that no test caught."""
    outcome = {row["id"]: row for row in outcomes}
    counts: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        found = outcome.get(row.id, {}).get("outcome", "gone" if row.found == "gone" else "to run")
        if row.equivalent and found in (ESCAPED, UNREACHED):
            found = "equivalent"
        elif found in (ESCAPED, UNREACHED):
            change = f"{row.site.before} -> {row.site.after}"
            print(f"{row.id} {found} {row.site.file}:{row.site.line} {row.site.function}: {change}")
        for package in (row.site.file.partition("/")[0], "all"):
            counts[package][found] += 1
    for package, counted in counts.items():
        print(package, *(f"{name} {count}" for name, count in sorted(counted.items())), sep="  ")


def arguments() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=("draw", "run", "show", "find"))
    parser.add_argument("list", type=Path)
    parser.add_argument("outcomes", type=Path, nargs="?", help="what run and find write")
    parser.add_argument("--tree", type=Path, default=Path())
    parser.add_argument("--at", default="HEAD", help="commit whose product and tests are run")
    parser.add_argument("--python", type=Path)
    parser.add_argument("--seed", type=int, default=64)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--tests", type=int, default=100, help="most tests per mutant")
    parser.add_argument("--seconds", type=float, default=200, help="most seconds of CPU per mutant")
    parser.add_argument("--slow", action="store_true", help="run slow tests, on what escaped")
    return parser.parse_args()


def main() -> None:
    """Does what the command line names."""
    asked = arguments()
    tree = asked.tree.resolve()
    if asked.command == "draw":
        return write_list(asked.list, draw(tree, asked.seed, asked.count))
    rows = read_list(asked.list)
    if asked.command == "find":
        return write_list(asked.outcomes, find(rows, tree))
    if asked.command == "show":
        return show(rows, last_outcomes(read_outcomes(asked.outcomes)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the copy is put back as it was
    python = asked.python or tree / ".venv/bin/python"
    return run(rows, asked.outcomes, Workshop(tree, asked.at, python), asked)


if __name__ == "__main__":
    main()

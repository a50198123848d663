"""Imports are cheap and safe in any process; modules have docstrings; tests/ is not a package."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    path
    for package in ("data", "model", "eval", "pipeline")
    for path in (ROOT / package).rglob("*.py")
]
# Imports in this order, in one process; what a step has loaded is noted after it.
STEPS = {
    "light": (
        "data.rules.english_lines, data.examples.span_corruption, data.examples.mixture, "
        "data.tokens.blocks, pipeline.cli, pipeline.commands.inspect, pipeline.planning.topology"
    ),
    "a refused report": "pipeline.reporting.report",
    "cleaning": "pipeline.corpus.clean",
    # A language identifier before TensorFlow; the other order crashes the process. What is known
    # of it is forgotten, so that another import is noticed.
    "identifier": "gcld3; del sys.modules['gcld3'], sys.modules['gcld3.pybind_ext']",
    "tokenizing": "pipeline.tokens.tokenize, pipeline.tokens.sentencepiece_op",
}
PROGRAM = """
import json, sys
loaded = []
for step in json.loads(sys.argv[1]):
    exec(f"import {step}")
    loaded.append([*sys.modules])
print(json.dumps(loaded), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """The modules in memory after each step."""
    words = [sys.executable, "-c", PROGRAM, json.dumps([*STEPS.values()])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    modules = map(set, json.loads(done.stderr.splitlines()[-1]))
    return dict(zip(STEPS, modules, strict=True))


@pytest.mark.parametrize(
    ("step", "needs", "not_loaded"),
    [
        ("light", "data", "jax grain apache_beam tensorflow tensorstore equinox"),
        # Nothing that computes or draws.
        ("a refused report", "eval.statistics", "jax scipy altair vl_convert jinja2"),
        ("cleaning", "apache_beam", "tensorflow jax grain"),
        ("tokenizing", "tensorflow", "gcld3"),
    ],
)
def test_a_step_loads_nothing_heavy_that_it_does_not_need(loaded, step, needs, not_loaded):
    assert needs in loaded[step]
    assert not loaded[step].intersection(not_loaded.split())


def test_packages_are_typed_and_tests_are_none():
    for package in ("data", "model", "eval", "pipeline"):
        assert (ROOT / package / "py.typed").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_module_opens_with_a_docstring_and_prints_through_the_file_that_escapes():
    for path in MODULES:
        content = path.read_text(encoding="utf-8")
        assert content.startswith('"""'), path
        if re.search(r"\b(print|Console)\(", content):
            nodes = ast.walk(ast.parse(content))
            calls = (node.func for node in nodes if isinstance(node, ast.Call))
            names = {function.id for function in calls if isinstance(function, ast.Name)}
            assert not names & {"print", "Console"} or path == ROOT / "pipeline/terminal.py", path


def test_parquet_is_read_in_one_file():
    """Which bounds what a file decodes to, and checks its columns."""
    # The second shows a shell's lines for files that are not read.
    readers = ("data/files/parquet_files.py", "pipeline/corpus/other_formats.py")
    for path in {*MODULES} - {ROOT / reader for reader in readers}:
        content = path.read_text(encoding="utf-8")
        used = set(re.findall(r"\b(?:pq|parquet)\.(\w+)\(", content))
        assert used <= {"write_table", "ParquetWriter"}, path
        others = r"pyarrow.*\b(?:dataset|feather|orc|csv)\b|from pyarrow\.parquet\b|memory_map"
        assert not re.search(others, content), path

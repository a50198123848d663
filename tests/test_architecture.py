"""Imports are cheap and safe in any process; modules have docstrings; tests/ is not a package."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = ("jax", "grain", "apache_beam", "tensorflow", "tensorstore", "equinox")


def imported_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_light_modules_load_nothing_heavy():
    light = (
        "data.rules.english_lines",
        "data.examples.span_corruption",
        "data.examples.mixture",
        "data.tokens.blocks",
        "pipeline.cli",
        "pipeline.commands.inspect",
        "pipeline.planning.topology",
    )
    assert not imported_by(f"import {', '.join(light)}").intersection(HEAVY)


def test_the_import_test_can_fail():
    assert "jax" in imported_by("import model.switch.routing")


def test_cleaning_loads_no_tensorflow_jax_or_grain():
    loaded = imported_by("import pipeline.corpus.clean")
    assert "apache_beam" in loaded
    assert not loaded.intersection({"tensorflow", "jax", "grain"})


def test_a_refused_report_loads_no_jax_and_nothing_that_computes_or_draws():
    loaded = imported_by("import pipeline.reporting.report")
    assert "eval.statistics" in loaded
    assert not loaded.intersection({"jax", "scipy", "altair", "vl_convert", "jinja2"})


def test_tokenizing_loads_no_language_identifier():
    loaded = imported_by("import pipeline.tokens.tokenize, pipeline.tokens.sentencepiece_op")
    assert "tensorflow" in loaded
    assert "gcld3" not in loaded


def test_language_identifier_before_tensorflow_works():
    # The other order crashes the process; no command loads TensorFlow first.
    code = "import gcld3, tensorflow; print(gcld3.NNetLanguageIdentifier(0, 1000) is not None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "True" in done.stdout


def test_no_package_under_tests():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_module_opens_with_a_docstring():
    for package in ("data", "model", "eval", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            assert path.read_text(encoding="utf-8").startswith('"""'), path


def test_packages_are_typed():
    for package in ("data", "model", "eval", "pipeline"):
        assert (ROOT / package / "py.typed").exists()


def test_parquet_is_read_in_one_file():
    """Which bounds what a file decodes to, and checks its columns."""
    for package in ("data", "model", "eval", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            # The second shows a shell's lines for files that are not read.
            if path in (
                ROOT / "data/files/parquet_files.py",
                ROOT / "pipeline/corpus/other_formats.py",
            ):
                continue
            content = path.read_text(encoding="utf-8")
            used = set(re.findall(r"\b(?:pq|parquet)\.(\w+)\(", content))
            imported = re.findall(r"pyarrow.*\b(?:dataset|feather|orc|csv)\b", content)
            imported += re.findall(r"from pyarrow\.parquet\b|memory_map", content)
            assert used <= {"write_table", "ParquetWriter"}, path
            assert not imported, path


def test_everything_printed_passes_the_file_that_escapes_it():
    for package in ("data", "model", "eval", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            calls = [
                node.func.id
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            ]
            prints = {"print", "Console"}.intersection(calls)
            assert not prints or path == ROOT / "pipeline/terminal.py", path

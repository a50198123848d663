"""A mistake of a command line is refused before the libraries are loaded that take seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("apache_beam", "jax", "pyarrow", "scipy", "tensorflow")
# Runs command lines one after the other; says of each its status and which of the libraries it has.
PROGRAM = """
import contextlib, io, json, sys
from pipeline import cli

slow, *lines = json.load(sys.stdin)
answers = []
for line in lines:
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            status = cli.run(line.split())
        except SystemExit as end:
            status = end.code
    answers.append([status, printed.getvalue(), [name for name in slow if name in sys.modules]])
json.dump(answers, sys.stdout)
"""
NO_RUN = "A run was expected in none, which does not exist; name the --out of `mswitch pretrain`"
NO_CORPUS = "clean output was expected in none, which does not exist; run clean to its end first."
NO_TOKENS = "tokenize output was expected in none, which does not exist; run tokenize to its end"
NO_RECIPE = "Recipe 'mt5-dmo' is unknown. Did you mean mt5-demo"
NO_INPUT = "Input 'none' names no file; give existing files, or a quoted glob"
UNKNOWN_OPTION = "Unrecognized options: --colour"
MISTAKES = {
    "pretrian --out o": "There is no command 'pretrian'. Did you mean pretrain?",
    "clean --input none --rules mc4 --out o --colour red": UNKNOWN_OPTION,
    "clean --input none --rules mc4 --out o --runner=X": "--runner is an option of Beam",
    "recipes --colour red": UNKNOWN_OPTION,
    "clean --input none --rules mc4 --out o": NO_INPUT,
    "clean --input . --rules mc4 --out o": "Input '.' is a directory; give existing files",
    "clean --input none --rules mc4 --languages swahilli --out o": "'swahilli'",
    "estimate --input none --rules mc4": NO_INPUT,
    "estimate --input none --rules mc4 --sample-megabytes -3": "--sample-megabytes was -3; give 1",
    "score --corpus none --out o": NO_CORPUS,
    "select --corpus none --scores none --out o": NO_CORPUS,
    "withdraw --corpus none --sites none --reason x": NO_CORPUS,
    "vocabulary --corpus none --size 1000 --out o": NO_CORPUS,
    "vocabulary --corpus none --size 9 --out o": "--size was 9; give a number at least 360",
    "vocabulary --model none --out o": "A vocabulary was expected at none, which does not exist",
    "tokenize --corpus none --vocabulary none --out o": "vocabulary output was expected in none",
    "pretrain --recipe mt5-dmo --tokens none --out o": NO_RECIPE,
    "pretrain --recipe mt5-demo --tokens none --out o": NO_TOKENS,
    "pretrain --recipe mt5-demo --tokens none --out o --set stpes=1": "steps",
    "finetune --run none --task none --out o": NO_RUN,
    "distill --teacher none --recipe mt5-dmo --tokens none --out o": NO_RECIPE,
    "distill --teacher none --recipe mt5-demo --tokens none --out o": NO_RUN,
    "prune --run none --languages sw --keep 0.5 --out o": NO_RUN,
    "evaluate --run none --tokens none": NO_RUN,
    "time --baseline none --candidate none --tokens none --out o": NO_RUN,
    "report --baseline none --candidate nothing --out o": NO_RUN,
    "fill <extra_id_0> --run none": NO_RUN,
    "fill <extra_id_0> --run none --tokens 0": "--tokens was 0; gaps are filled with 1 token",
    "import-hf none --out o": "A Transformers model was expected in none, which does not exist",
    "export-hf --run none --out o": NO_RUN,
    "plan --recipe mt5-dmo --topology cpu:1": NO_RECIPE,
    "recipes mt5-dmo": NO_RECIPE,
    "inspect none": "An artifact was expected in none, which does not exist",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[int, str, list[str]]]:
    """Status, message and slow libraries in memory after each command line, of one process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([SLOW, *MISTAKES]),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("empty"),
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"},
    )
    return dict(zip(MISTAKES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_refused_without_slow_libraries(line, answers):
    status, printed, loaded = answers[line]
    assert MISTAKES[line] in printed
    assert (status, loaded) == (2, [])

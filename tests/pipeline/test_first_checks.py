"""A mistake of a command line is refused before the libraries are loaded that take seconds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.command_line import COMMANDS, options_of

SLOW = ("apache_beam", "jax", "pyarrow", "scipy", "tensorflow")
# Prints each command line's status, its message, and the slow libraries that are in memory then.
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
NEEDED = {
    "clean": "--input, --out",
    "estimate": "--input, --rules",
    "score": "--corpus, --out",
    "select": "--corpus, --scores, --out",
    "withdraw": "--corpus, --sites, --reason",
    "vocabulary": "--out",
    "tokenize": "--corpus, --vocabulary, --out",
    "pretrain": "--tokens, --out",
    "finetune": "--run, --task, --out",
    "distill": "--teacher, --tokens, --out",
    "prune": "--run, --languages, --out",
    "evaluate": "--run",
    "time": "--baseline, --candidate, --tokens, --out",
    "report": "--baseline, --candidate, --out",
    "fill": "TEXT, --run",
    "import-hf": "DIRECTORY, --out",
    "export-hf": "--run, --out",
    "plan": "--recipe, --topology",
    "inspect": "DIRECTORY",
    "prune --languages sw --out=o": "--run",
    "clean --rules mc4 --out o --no-growable -- --runner=X": "--input",
}
MISTAKES = {
    "pretrian --out o": "There is no command 'pretrian'. Did you mean pretrain?",
    "clean --input none --rules mc4 --out o --runner=X": "--runner is an option of Beam",
    "clean --crawl_cache a --crawl-cache=b --out o": "clean was given --crawl-cache 2 times; give",
    "evaluate --run a --run=b --tokens t": "evaluate was given --run 2 times; give it once.",
    "clean --input --rules none --out o": "clean was given --input without a value; write one",
    "clean --input x --no-growable --languages --rules none --out o": "--languages without a value",
    "inspect --directory=": "inspect was given --directory with an empty value; write one",
    "clean --inputs none --rules mc4 --out o": "has no option --inputs. Did you mean --input?",
    "clean --input none --rules mc4 --out o --colour red": "clean has no option --colour; `mswitch",
    "tokenize --corpus c --vocabulary v --out o --sequence=5": "tokenize has no option --sequence;",
    "report --baseline a --candidate b --out o -v": "report has no option -v; `mswitch report --",
    "clean --in none --rules mc4 --out o": "clean has no option --in. Did you mean --input?",
    "tokenize --corpus c --vocabulary v --out a b": "was given 'b' alone; write its option (`ms",
    "tokenize --corpus c --vocabulary v --out": "tokenize was given --out without a value; write",
    "finetune --run r --task t --out o --dry-run=yes": "finetune was given 'yes' alone; write",
    "inspect a b": "inspect was given 'b' alone; write its option (`mswitch inspect --help`)",
    "plan --recipe r --topology t --price x": "plan was given --price x; write a number.",
    "plan --recipe r --topology t --price=1k": "--price 1k; write a number, such as 1000.",
    "--colour red": "mswitch has no option --colour; `mswitch --help` lists what there is.",
    "--tyro-print-completion ksh": "needs a shell; write one of bash, zsh, tcsh, fish after it.",
    "clean --input none --rules mc5 --out o": "--rules mc5; write one of mc4, mc4-3.0.1, c4-en,",
    "clean --input none --rules mc4 --out o": NO_INPUT,
    "clean --input . --rules mc4 --out o": "Input '.' is a directory; give existing files",
    "clean --input none --rules mc4 --languages swahilli --out o": "'swahilli'",
    "estimate --input none --rules mc4": NO_INPUT,
    "estimate --input x --rules none --sample-megabytes -3": "--sample-megabytes was -3; give 1",
    "score --corpus none --out o": NO_CORPUS,
    "select --corpus none --scores none --out o": NO_CORPUS,
    "withdraw --corpus none --sites none --reason x": NO_CORPUS,
    "vocabulary --corpus none --sise 1000 --out o": "vocabulary has no option --sise. Did you",
    "vocabulary --corpus none --size 1000 --out o": NO_CORPUS,
    "vocabulary --corpus c --size 200 --out o": "--size was 200; give a number at least 360",
    "vocabulary --corpus c --size 2000 --character-coverage 5 --out o": "coverage was 5;",
    "vocabulary --model none --out o": "A vocabulary was expected at none, which does not exist",
    "tokenize --corpus none --vocabulary none --out o": NO_CORPUS,
    "tokenize --corpus c --vocabulary v/sentencepiece.model --out o": "name its directory, v.",
    "pretrain --recipe r --tokens t --out o --hosts.count two": "--hosts.count two; write a whole",
    "vocabulary --corpus c --out o --size 32k": "--size 32k; write a whole number, such as 32000",
    "pretrain mt5-laptop --tokens t --out o": "given 'mt5-laptop' alone; write --recipe before it",
    "pretrain --recipe r --tokens t --out o --steps 10": "which a recipe sets; write --set steps=N",
    "pretrain --recipe mt5-demo --tokens none --out o --set lr=1": "optimizer.scale=X",
    "pretrain --recipe mt5-demo --tokens none --out o --set batch_size=1": "rows=N, the rows",
    "pretrain --recipe mt5-demo --tokens none --out o --set epochs=1": "steps=N: the length of a",
    "finetune --run r --task t --out o --seeds 1 x": "given --seeds x; write a whole number",
    "pretrain --recipe mt5-dmo --tokens none --out o": NO_RECIPE,
    "pretrain --recipe mt5-demo --tokens none --out o": NO_TOKENS,
    "pretrain --recipe mt5-demo --tokens none --out o --set stpes=1": "steps",
    "pretrain --recipe mt5-demo --tokens t --out o --set seed=3 --seeds 4": (
        "--seeds 4 was given together with --set seed=3; give one of them"
    ),
    "pretrain --recipe mt5-demo --tokens t --out o --trunk r": "a branch needs --trunk and",
    "pretrain --recipe mt5-demo --tokens t --out o --upcycle-at 3": "need --upcycle RUN",
    "pretrain --recipe mt5-demo --tokens t --out o --upcycle r --start s": "one beginning: name",
    "pretrain --recipe mt5-demo --tokens t --out o --upcycle r --upcycle-noise 1": "noise was 1;",
    "finetune --run none --task none --out o": NO_RUN,
    "distill --teacher none --recipe mt5-dmo --tokens none --out o": NO_RECIPE,
    "distill --teacher none --recipe mt5-demo --tokens none --out o": NO_RUN,
    "prune --run none --languages sw --keep 0.5 --out o": NO_RUN,
    "evaluate --run none --tokens none": NO_RUN,
    "time --baseline none --candidate none --tokens none --out o": NO_RUN,
    "report --baseline none --candidate nothing --out o": NO_RUN,
    "report --baseline a b --candidate c ./a --out o": "/a; a run against itself",
    "fill <extra_id_0> --run none": NO_RUN,
    "fill x --run none --tokens 0": "--tokens was 0; give 1 or more.",
    "import-hf none --out o": "A Transformers model was expected in none, which does not exist",
    "export-hf --run none --out o": NO_RUN,
    "plan --recipe mt5-dmo --topology cpu:1": NO_RECIPE,
    "plan --recipe mt5-demo --topology v9:2x2": "--topology v9:2x2 is unknown; known are v4, v5e",
    "plan --recipe mt5-demo --topology v5p:4x4": "name a slice of v5p with 3 dimensions",
    "plan --recipe mt5-demo --topology cpu:1 --price -1": "--price was -1; give 0 or more.",
    "recipes mt5-dmo": NO_RECIPE,
    "inspect none": "An artifact was expected in none, which does not exist",
    **{line: f"{line.split()[0]} needs {missing}; `mswitch " for line, missing in NEEDED.items()},
    **{
        line: f"{line.split()[0]} was given gs://bucket/x where it reads or writes on this machine"
        for line in (
            "pretrain --config gs://bucket/x --tokens t --out o",
            "evaluate --run r --tokens t --cache.directory gs://bucket/x",
            "vocabulary --corpus gs://bucket/c --size 9 --out gs://bucket/x",
            "import-hf gs://bucket/x --out o",
            "demo --out gs://bucket/x",
        )
    },
}
# What every command answers to an option that it lacks, and to each of its own when misused.
EVERYWHERE = {
    f"{name} {words}": f"{name} {answer}"
    for name in COMMANDS
    for words, answer in (
        *((words, f"has no option --zz; `mswitch {name} --help` lists what there is.")
          for words in ("--zz 5", "--zz=5", "--zz", "--zz --zy", "--zz a b")),
        ("-zz", f"has no option -zz; `mswitch {name} --help` lists what there is."),
        ("--zz=", "was given --zz with an empty value; write one."),
        *((f"{option}=", f"was given {option} with an empty value; write one.")
          for option in options_of(name)),
        *((f"{option} x {option} y", f"was given {option} 2 times; give it once.")
          for option, takes_several in options_of(name).items() if not takes_several),
        *((f"{option} --help", f"was given {option} without a value; write one after it.")
          for option, takes_several in options_of(name).items() if takes_several),
    )
}  # fmt: skip
LATER = {  # found by what the commands load
    "clean --input https://x.example/a.jsonl --rules mc4 --out o": "address of a web server",
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[int, str, list[str]]]:
    """Status, message and slow libraries in memory after each command line, of one process."""
    lines, here = [*MISTAKES, *EVERYWHERE, *LATER], tmp_path_factory.mktemp("empty")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([SLOW, *lines]),
        capture_output=True,
        text=True,
        check=True,
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "200"},
    )
    assert not list(here.iterdir())  # nothing is left
    return dict(zip(lines, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("line", MISTAKES | EVERYWHERE | LATER)
def test_a_mistake_is_one_sentence_and_loads_no_slow_libraries(line, answers):
    status, printed, loaded = answers[line]
    assert status == 2
    sentence = re.escape((MISTAKES | EVERYWHERE | LATER)[line])
    assert re.fullmatch(rf"mswitch: .*{sentence}.*\n", printed), printed
    assert loaded == [] or line in LATER


def test_each_command_with_an_option_that_it_needs_is_among_the_mistakes():
    assert {*COMMANDS} - {*NEEDED} == {"demo", "doctor", "recipes"}

"""The plan of a job, per rule set: its steps and, in parentheses, the exchanges made together."""

import pickle

import pytest

from pipeline.beam.job import Stage
from pipeline.corpus.graph import plan
from pipeline.corpus.job import begin_job
from pipeline.corpus.rules import find_rules


def described(stage: Stage) -> str:
    if isinstance(stage, tuple):
        return f"({' '.join(exchange.name for exchange in stage)})"
    return stage.name


TWO_ROUNDS = "read (newest) claim (repeated duplicate) judge"
WEB = TWO_ROUNDS.replace(
    "claim",
    "describe (thresholds) resemble (alike) contract-00 candidates (choose) claim",
)


@pytest.mark.parametrize(
    ("rules", "names"),
    [("none", "read judge"), ("mc4", TWO_ROUNDS), ("c4-en", TWO_ROUNDS), ("mswitch-web", WEB)],
)
@pytest.mark.parametrize("growable", [False, True])
def test_a_plan_has_its_rules_stages_and_travels_to_workers(tmp_path, rules, names, growable):
    stages = plan(begin_job(str(tmp_path), find_rules(rules), [], growable=growable))
    received = pickle.loads(pickle.dumps(stages))
    assert " ".join(map(described, received)) == names + " keep" * growable

"""Steps in turns: whose turn it is, what is counted, and that a timed step is the run's own."""

import itertools
import shutil

import jax
import numpy as np
import pytest
from training_runs import EVERY, STEPS, lines, parameters

from pipeline.fields import CacheOptions
from pipeline.runs.opened_run import load_run
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.run import make_examples
from pipeline.training.step_times import ROUNDS, RunToLoad, load, take_turns

pytestmark = pytest.mark.usefixtures("traced_once")


class Noted:
    """A side that notes its turns and takes as many seconds as it has had turns, times a factor."""

    def __init__(self, name: str, turns: list[tuple[str, int]], factor: float = 1.0):
        self.name, self.turns, self.factor, self.had = name, turns, factor, 0

    def seconds(self, steps: int) -> float:
        self.turns.append((self.name, steps))
        self.had += 1
        return self.had * self.factor


def test_the_order_is_reversed_every_second_round_and_the_first_round_is_not_counted():
    turns = []
    rounds = take_turns(Noted("baseline", turns), Noted("candidate", turns, 2.0), 3)
    names = [name for name, _ in turns]
    assert {steps for _, steps in turns} == {3}
    assert len(turns) == 2 * (ROUNDS + 1)
    pairs = list(zip(names[::2], names[1::2], strict=True))
    assert all(set(pair) == {"baseline", "candidate"} for pair in pairs)
    assert all(one == other[::-1] for one, other in itertools.pairwise(pairs))
    assert [one.first for one in rounds] == [pair[0] for pair in pairs[1:]]
    assert sum(one.first == "baseline" for one in rounds) == ROUNDS / 2
    assert [one.baseline_seconds for one in rounds] == list(range(2, ROUNDS + 2))
    assert {one.candidate_seconds / one.baseline_seconds for one in rounds} == {2.0}


@pytest.mark.slow
def test_a_timed_step_is_the_step_that_the_run_would_make(pretrained, tokens, tmp_path):
    """From the checkpoint before the last, timed steps lead to the last one, bit for bit."""
    before = tmp_path / "run"
    shutil.copytree(pretrained, before)
    (before / f"checkpoints/{STEPS}.json").unlink()
    recipe, _ = load_run(before)
    examples = make_examples(recipe, open_blocks(str(tokens), CacheOptions()))
    side = load(RunToLoad(before, recipe, examples), EVERY)
    assert int(side.state.step) == STEPS - EVERY
    spent = side.seconds(1) + side.seconds(EVERY - 1)
    assert spent > 0
    assert int(side.state.step) == STEPS
    losses = side.metrics.losses
    assert losses.loss_nats / losses.target_tokens == lines(pretrained)[-1]["loss_nats"]
    found = [np.asarray(leaf) for leaf in jax.tree.leaves(side.state.arrays)]
    for left, right in zip(found, parameters(pretrained, STEPS), strict=True):
        np.testing.assert_array_equal(left, right)

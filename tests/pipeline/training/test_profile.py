"""Exactly the requested steps are traced, with all their work."""

import jax
import jax.numpy as jnp
import pytest

from model.config import ConfigurationError
from pipeline.training.profile import Profile, check_profile


@pytest.mark.parametrize("steps", [(0, 5), (20, 15), (399, 401)])
def test_only_steps_of_the_run_can_be_traced(steps):
    check_profile((1, 400), 400)
    with pytest.raises(ConfigurationError, match=f"--profile {steps[0]} {steps[1]} was asked"):
        check_profile(steps, 400)


@pytest.mark.parametrize(
    ("asked", "made", "traced"),
    [
        ((2, 3), range(1, 5), [2, 3]),
        ((2, 4), range(3, 5), [3, 4]),  # resumed in between
        ((1, 100), range(1, 2), [1]),  # ends early
    ],
)
def test_exactly_the_requested_steps_are_traced(tmp_path, asked, made, traced):
    profile, found = Profile(asked, tmp_path), []
    for step in made:
        with profile.around(step):
            if profile.folder is not None:
                found.append(step)
            jax.block_until_ready(jnp.ones(8) * step)
    profile.stop()
    assert (found, profile.folder) == (traced, None)
    assert [path for path in tmp_path.rglob("*.xplane.pb") if path.stat().st_size > 0]


def test_steps_that_were_made_before_are_named(tmp_path):
    said = []
    for first in (0, 9, 10, 15, 30):
        Profile((10, 20), tmp_path).check_resumed(first, said.append)
    Profile(None, tmp_path).check_resumed(5, said.append)
    assert [text.partition(" were")[0] for text in said] == [
        f"steps 10 to {done}" for done in (10, 15, 20)
    ]


def test_the_trace_ends_after_the_work_of_its_last_step(tmp_path, monkeypatch):
    """A step is only dispatched when its call returns."""
    matrix, ready = jnp.ones((500, 500)), []
    turns = jax.jit(lambda one: jax.lax.fori_loop(0, 60, lambda _, of: jnp.sin(of @ one), one))
    step = turns.lower(matrix).compile()
    stop = jax.profiler.stop_trace
    profile = Profile((1, 1), tmp_path)
    with monkeypatch.context() as patch, profile.around(1):
        patch.setattr(jax.profiler, "stop_trace", lambda: (ready.append(result.is_ready()), stop()))
        result = step(matrix)
        profile.stop()
    assert ready == [True]

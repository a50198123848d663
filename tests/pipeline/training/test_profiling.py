import jax
import jax.numpy as jnp

from pipeline.training.profiling import Profile


def test_exactly_the_requested_steps_are_traced(tmp_path):
    profile = Profile((2, 3), tmp_path)
    tracing = []
    for step in range(1, 5):
        with profile.around(step):
            tracing.append(profile.tracing)
            jax.block_until_ready(jnp.ones(8) * step)
    assert tracing == [False, True, True, False]
    assert [path for path in tmp_path.rglob("*.xplane.pb") if path.stat().st_size > 0]


def test_a_run_that_ends_early_leaves_a_whole_trace(tmp_path):
    profile = Profile((1, 100), tmp_path)
    with profile.around(1):
        pass
    profile.stop()
    assert not profile.tracing
    assert list(tmp_path.rglob("*.xplane.pb"))

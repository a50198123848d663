"""No random key serves two purposes: first weights, or the noise of one step."""

import jax
import numpy as np
import pytest
from small_networks import batch, trainer

USERS = ("split", "fold_in", "normal", "truncated_normal", "uniform", "bernoulli")


@pytest.mark.slow
def test_first_weights_and_steps_share_no_key(monkeypatch):
    """`fold_in(key, i)` equals `split(key, n)[i]`, so derived keys are compared too."""
    seen = set()

    def watch(name):
        use = getattr(jax.random, name)

        def watched(key, *args, **kwargs):
            add = lambda data: seen.add(tuple(data.tolist()))  # noqa: E731
            jax.debug.callback(add, jax.random.key_data(key))
            return use(key, *args, **kwargs)

        monkeypatch.setattr(jax.random, name, watched)

    for name in USERS:
        watch(name)
    one = trainer.__wrapped__("switch")
    state = one.init()
    jax.effects_barrier()
    run_key = tuple(np.asarray(jax.random.key_data(jax.random.key(0))).tolist())
    purposes = [seen - {run_key}]
    for _ in range(4):
        seen.clear()
        state, _ = one.step(state, batch())
        jax.effects_barrier()
        purposes.append(seen - {run_key})
    assert min(map(len, purposes)) > 10
    assert len(set.union(*purposes)) == sum(map(len, purposes))

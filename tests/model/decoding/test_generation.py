"""Decoding with a cache gives the tokens of the whole decoder run again for every token."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import drawn, mesh_of, sized

from model.batch import Batch, Call
from model.config import EOS, MeshShape, Sampling, SwitchConfig
from model.decoding.generation import cached_decoder, choose_tokens, generate, never_dropping

SWITCH = SwitchConfig(experts=4, every=2, encoder_group_tokens=16, decoder_group_tokens=8)
LENGTH = 6
IDS = 100  # of 128 rows


def small(switch):
    """Routers are decided, so that experts differ and many tokens would be dropped."""
    model = drawn(sized(switch=switch))
    if switch is None:
        return model
    routers = lambda m: [s.blocks[1].feed_forward.router for s in (m.encoder, m.decoder)]  # noqa: E731
    return eqx.tree_at(routers, model, replace_fn=lambda router: 5 * router)


def uncached(model, inputs):
    """Greedy, the whole decoder for every token."""
    model = never_dropping(model, inputs.shape[1])
    logits = jax.jit(lambda batch: model.head(model(batch, Call(mesh_of())).decoded))
    written = np.zeros((len(inputs), LENGTH), np.int32)
    finished = inputs[:, 0] == 0
    for position in range(LENGTH):
        targets = written.copy()
        targets[~finished, position] = EOS  # marks the position as one to predict
        batch = Batch(jnp.array(inputs), jnp.array(targets), jnp.zeros(len(inputs), jnp.int32))
        token = np.asarray(jnp.argmax(logits(batch)[:, position, :IDS], axis=-1))
        written[:, position] = np.where(finished, 0, token)
        finished = finished | (token == EOS)
    return written


@pytest.mark.parametrize(
    "switch", [pytest.param(None, marks=pytest.mark.slow), SWITCH], ids=["dense", "switch"]
)
def test_equals_decoding_without_a_cache(switch):
    inputs = np.random.default_rng(0).integers(2, 128, (4, 8)).astype(np.int32)
    inputs[1, 5:], inputs[3] = 0, 0  # one is padded, one is a row of padding
    model = small(switch)

    def written(shape):
        def run(inputs):
            decoder = cached_decoder(model, inputs, length=LENGTH, ids=IDS, mesh=mesh_of(shape))
            return generate(decoder, jax.random.key(0), Sampling())

        return np.asarray(jax.jit(run)(jnp.array(inputs)))

    found = written(MeshShape())
    np.testing.assert_array_equal(found, uncached(model, inputs))
    assert not found[3].any()
    assert len(np.unique(found[:3])) > 3
    if switch is not None:
        np.testing.assert_array_equal(written(MeshShape(data=2, expert=2)), found)


LOGITS = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]))


@pytest.mark.parametrize(
    ("sampling", "shares"),
    [
        (Sampling(temperature=1.0), [0.4, 0.3, 0.2, 0.1]),
        (Sampling(temperature=0.5), np.array([16, 9, 4, 1]) / 30),
        (Sampling(temperature=1.0, top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.6), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(temperature=1.0, top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0]),
        # After top_k=3 the shares are 4/9, 3/9, 2/9: two reach 0.7.
        (Sampling(temperature=1.0, top_k=3, top_p=0.7), [4 / 7, 3 / 7, 0, 0]),
        (Sampling(), [1, 0, 0, 0]),
    ],
    ids=str,
)
def test_sampling_has_the_shares_it_should(sampling, shares):
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: choose_tokens(LOGITS, sampling, key)))(keys))
    for row, expected in zip(drawn.T, (shares, shares[::-1]), strict=True):
        found = np.bincount(row, minlength=4) / len(keys)
        np.testing.assert_allclose(found, expected, atol=0.015)  # 4 sigma
        assert (found[np.asarray(expected) == 0] == 0).all()

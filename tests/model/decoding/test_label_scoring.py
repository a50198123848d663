"""Scores of labels are the losses of the labels taken one by one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import ROWS, SOURCE, batch, config, drawn, mesh_of

from model.batch import Batch
from model.call import Call
from model.decoding.label_scoring import label_nats
from model.decoding.never_dropping import never_dropping
from model.sharding.layouts import batch_sharding, parameter_shardings
from model.sharding.mesh import MeshShape

LABELS = np.array([[5, 9, 1, 0], [5, 1, 0, 0], [70, 80, 90, 1]], np.int32)


def small(kind):
    """A network; its routers are decided, so that capacity would drop many tokens."""
    model = drawn(config(kind))
    if kind == "dense":
        return model
    return eqx.tree_at(
        lambda m: [stack.blocks[0].feed_forward.router for stack in (m.encoder, m.decoder)],
        model,
        replace_fn=lambda router: 5 * router,
    )


def plain(model, inputs):
    """Each label alone: the whole network, logits, log softmax, the sum over the label's tokens."""
    model = never_dropping(model, SOURCE, LABELS.shape[1])

    @jax.jit
    def nats(targets):
        rows = Batch(inputs, targets, jnp.zeros(len(inputs), jnp.int32))
        logs = jax.nn.log_softmax(model.head(model(rows, Call(mesh_of())).decoded))
        of_target = jnp.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
        return -jnp.sum(of_target * rows.is_target, axis=1)

    columns = [nats(jnp.broadcast_to(label, (len(inputs), len(label)))) for label in LABELS]
    return np.stack(columns, axis=1)


def scorer(model, shape=MeshShape(), **logits):  # noqa: B008
    """The compiled function from inputs to scores, on a mesh of this shape."""
    arrays, static = eqx.partition(model, eqx.is_array)
    mesh, labels = mesh_of(shape), jnp.array(LABELS)
    arrays = jax.device_put(arrays, parameter_shardings(arrays, mesh))
    call = Call(mesh, **logits)
    run = jax.jit(lambda arrays, rows: label_nats(eqx.combine(arrays, static), rows, labels, call))
    return lambda inputs: np.asarray(run(arrays, jax.device_put(inputs, batch_sharding(mesh))))


@pytest.mark.parametrize("kind", [pytest.param("dense", marks=pytest.mark.slow), "switch"])
def test_equals_the_loss_of_each_label(kind):
    """On one device, on four, a few logits at a time, and with the other rows changed."""
    model, inputs = small(kind), batch().inputs
    score = scorer(model)
    found = score(inputs)
    assert found.shape == (ROWS, len(LABELS))
    np.testing.assert_allclose(found, plain(model, inputs), rtol=1e-5)
    sharded = scorer(model, MeshShape(data=2, expert=2))(inputs)
    np.testing.assert_allclose(sharded, found, rtol=1e-5)
    in_chunks = scorer(model, logits_bytes=4_096)(inputs)
    np.testing.assert_allclose(in_chunks, found, rtol=1e-5)
    others = score(inputs.at[1:].set(inputs[:1]))
    np.testing.assert_allclose(others[0], found[0], rtol=1e-6)
    assert np.abs(others[1] - found[1]).min() > 0.01

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import ModelConfig, SwitchConfig
from model.routing import expert_capacity
from model.sharding import MeshShape, make_mesh
from model.switch_layer import SwitchLayer

_SPEC = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
oracle = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(oracle)

BATCH, LENGTH, EMBED, MLP, EXPERTS = 8, 16, 12, 8, 4
GROUP = 16
SWITCH = SwitchConfig(experts=EXPERTS, every=1, encoder_group_tokens=GROUP, decoder_group_tokens=8)
CONFIG = ModelConfig(
    vocabulary_rows=128,
    embed=EMBED,
    heads=2,
    head=6,
    mlp=MLP,
    layers=1,
    switch=SWITCH,
    activation_dtype="float32",
)
MESHES = [
    MeshShape(data=8),
    MeshShape(expert=4, data=2),
    MeshShape(expert=2, model=2, data=2),
    MeshShape(model=8),
    MeshShape(expert=4, model=2),
]


@pytest.fixture(scope="module")
def layer():
    layer = SwitchLayer.init(CONFIG, SWITCH, key=jax.random.key(0))
    router = jax.random.normal(jax.random.key(1), layer.router.shape)  # decided, not near ties
    return SwitchLayer(router, layer.gate, layer.up, layer.down)


@pytest.fixture(scope="module")
def tokens():
    x = jax.random.normal(jax.random.key(2), (BATCH, LENGTH, EMBED))
    is_token = jnp.arange(LENGTH)[None] < jnp.array([16, 16, 9, 16, 1, 16, 16, 0])[:, None]
    return x, is_token


def run(layer, tokens, mesh, *, factor=1.25, jitter=0.0):
    call = functools.partial(
        SwitchLayer.__call__,
        group_tokens=GROUP,
        capacity_factor=factor,
        minimum_capacity=1,
        jitter=jitter,
        key=jax.random.key(3),
        mesh=mesh,
    )
    return jax.jit(call)(layer, *tokens)


def one_device():
    return make_mesh(MeshShape(), jax.devices()[:1])


def by_loops(layer, tokens, factor):
    x, is_token = (np.asarray(part) for part in tokens)
    capacity = expert_capacity(GROUP, EXPERTS, factor, 1)
    weights = [np.asarray(w, np.float64) for w in (layer.router, layer.gate, layer.up, layer.down)]
    groups = [
        oracle.switch_group(group, mask, *weights, capacity)
        for group, mask in zip(
            x.astype(np.float64).reshape(-1, GROUP, EMBED), is_token.reshape(-1, GROUP), strict=True
        )
    ]
    return groups


@pytest.mark.parametrize("factor", [0.5, 1.25, 4.0])
def test_equals_loops_over_tokens(layer, tokens, factor):
    y, routing = run(layer, tokens, one_device(), factor=factor)
    expected = by_loops(layer, tokens, factor)
    real = np.asarray(tokens[1])
    assert np.array_equal(
        np.asarray(routing.expert).reshape(-1), np.ravel([g.expert for g in expected])
    )
    assert np.array_equal(
        np.asarray(routing.kept).reshape(-1), np.ravel([g.kept for g in expected])
    )
    np.testing.assert_allclose(
        np.asarray(y).reshape(-1, GROUP, EMBED), [g.output for g in expected], atol=1e-5
    )
    balance = np.mean([g.balance_loss for g in expected])
    assert float(routing.balance_loss) == pytest.approx(balance, abs=1e-5)
    dropped = 1 - np.asarray(routing.kept)[real].mean()
    if factor == 1.25:
        assert 0.05 < dropped < 0.5
    if factor == 4.0:
        assert dropped == 0


def test_gradients_equal_differences_of_the_loops(layer, tokens):
    """Slopes of a random projection, in each weight, against central differences in float64."""
    target = np.random.default_rng(0).normal(size=(BATCH, LENGTH, EMBED))

    def objective(layer):
        y, routing = run(layer, tokens, one_device())
        return jnp.sum(y * target) + routing.balance_loss

    def by_differences(name, direction, step=1e-5):
        values = []
        for sign in (1, -1):
            moved = {n: np.asarray(getattr(layer, n), np.float64) for n in names}
            moved[name] = moved[name] + sign * step * direction
            groups = by_loops(type("Weights", (), moved), tokens, 1.25)
            output = np.stack([g.output for g in groups]).reshape(target.shape)
            values.append(np.sum(output * target) + np.mean([g.balance_loss for g in groups]))
        return (values[0] - values[1]) / (2 * step)

    names = ("router", "gate", "up", "down")
    slopes = jax.grad(objective)(layer)
    generator = np.random.default_rng(1)
    for name in names:
        direction = generator.normal(size=getattr(layer, name).shape)
        slope = float(np.sum(np.asarray(getattr(slopes, name), np.float64) * direction))
        assert slope == pytest.approx(by_differences(name, direction), rel=2e-3, abs=2e-3), name


@pytest.mark.parametrize(
    ("shape", "jitter"), [*((shape, 0.0) for shape in MESHES), (MESHES[2], 0.1)], ids=str
)
def test_devices_do_not_matter(layer, tokens, shape, jitter):
    single, single_routing = run(layer, tokens, one_device(), jitter=jitter)
    y, routing = run(layer, tokens, make_mesh(shape), jitter=jitter)
    assert np.array_equal(routing.expert, single_routing.expert)
    assert np.array_equal(routing.kept, single_routing.kept)
    np.testing.assert_allclose(y, single, atol=1e-5)
    np.testing.assert_allclose(routing.balance_loss, single_routing.balance_loss, atol=1e-5)


def test_jitter_moves_the_router_only(layer, tokens):
    """With one expert chosen whatever the noise, jitter changes the gate and nothing else."""
    router = jnp.zeros_like(layer.router)
    same = SwitchLayer(router, layer.gate, layer.up, layer.down)
    still, _ = run(same, tokens, one_device())
    jittered, _ = run(same, tokens, one_device(), jitter=0.5)
    np.testing.assert_array_equal(still, jittered)


def test_two_exchanges_each_way_and_no_gather(layer, tokens):
    mesh = make_mesh(MeshShape(expert=4, data=2))

    def loss(layer, x):
        y, routing = run(layer, (x, tokens[1]), mesh)
        return jnp.sum(y**2) + routing.balance_loss

    forward = jax.jit(loss).lower(layer, tokens[0]).compile().as_text()
    both = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(layer, tokens[0]).compile().as_text()
    assert count("all-to-all", forward) == 2
    assert count("all-to-all", both) == 4
    assert count("all-gather", forward) == count("all-gather", both) == 0


def count(collective, program):
    return sum(
        f" {collective}(" in line or f" {collective}-start(" in line
        for line in program.splitlines()
    )

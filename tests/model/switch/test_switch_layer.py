import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.config import ModelConfig, SwitchConfig
from model.sharding import MeshShape, make_mesh
from model.switch.switch_layer import SwitchLayer

_SPEC = importlib.util.spec_from_file_location("oracle", Path(__file__).with_name("oracle.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
oracle = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(oracle)

BATCH, LENGTH, EMBED, MLP, EXPERTS = 8, 16, 12, 8, 8
GROUP = 16
SWITCH = SwitchConfig(
    experts=EXPERTS,
    every=1,
    encoder_group_tokens=GROUP,
    decoder_group_tokens=8,
    minimum_capacity=1,
    jitter=0.0,
)
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
ROUTINGS = {
    "switch": SWITCH,
    "two choices": replace(SWITCH, choices=2, capacity_factor_training=1.0),
    "three choices": replace(SWITCH, choices=3, capacity_factor_training=0.75),
    "dropless": replace(SWITCH, dispatch="dropless"),
    "dropless, two choices": replace(SWITCH, dispatch="dropless", choices=2),
}
MESHES = [
    MeshShape(data=data, expert=expert, model=8 // data // expert)
    for data in (1, 2, 4, 8)
    for expert in (1, 2, 4, 8)
    if data * expert <= 8
]
KEY = jax.random.key(3)


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


@pytest.fixture(scope="module")
def target():
    return np.random.default_rng(0).normal(size=(BATCH, LENGTH, EMBED))


def one_device():
    return make_mesh(MeshShape(), jax.devices()[:1])


def run(layer, tokens, mesh, switch=SWITCH):
    routing = switch.routing(decoder=False, training=True)
    return jax.jit(lambda layer, x, real: layer(x, real, routing, key=KEY, mesh=mesh))(
        layer, *tokens
    )


def with_slopes(mesh, switch, target):
    """Output, routing and gradients of a random projection and both losses."""
    routing = switch.routing(decoder=False, training=True)

    def objective(layer, x, real):
        y, routed = layer(x, real, routing, key=KEY, mesh=mesh)
        return jnp.sum(y * target) + routed.balance_loss + routed.z_loss, (y, routed)

    return jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)


class Loops:
    """The layer as the oracle has it, in float64; `noise` and `dropout_mask` are given by group."""

    def __init__(self, layer, tokens, switch, noise=None, dropout_mask=None):
        self.weights = {
            name: None if value is None else np.asarray(value, np.float64)
            for name, value in vars(layer).items()
        } | {"x": np.asarray(tokens[0], np.float64)}
        self.real = np.asarray(tokens[1]).reshape(-1, GROUP)
        routing = switch.routing(decoder=False, training=True)
        self.choices = routing.top_k
        self.capacity = math.inf if routing.dispatch == "dropless" else routing.capacity
        nothing = [None] * len(self.real)
        self.noise, self.dropout_mask = (
            nothing if part is None else part.reshape(len(self.real), GROUP, *part.shape[2:])
            for part in (noise, dropout_mask)
        )

    def groups(self, **moved):
        weights = self.weights | moved
        x = weights.pop("x").reshape(-1, GROUP, EMBED)
        return [
            oracle.switch_group(
                *parts[:2],
                **weights,
                choices=self.choices,
                capacity=self.capacity,
                noise=parts[2],
                dropout_mask=parts[3],
            )
            for parts in zip(x, self.real, self.noise, self.dropout_mask, strict=True)
        ]

    def objective(self, target, **moved):
        groups = self.groups(**moved)
        output = np.stack([group.output for group in groups]).reshape(target.shape)
        losses = [group.balance_loss + group.z_loss for group in groups]
        return np.sum(output * target) + np.mean(losses)

    def slope(self, target, name, direction, step=1e-5):
        at = self.weights[name]
        up, down = (
            self.objective(target, **{name: at + sign * step * direction}) for sign in (1, -1)
        )
        return (up - down) / (2 * step)


def assert_equal(loops, target, result):
    """Assignments first, then values, then slopes along random directions of every array."""
    (_, (y, routed)), (layer_slopes, x_slope) = result
    groups = loops.groups()
    for name in ("expert", "kept"):
        ours = np.asarray(getattr(routed, name)).reshape(-1, GROUP, loops.choices)
        np.testing.assert_array_equal(ours, [getattr(group, name) for group in groups])
    outputs = np.stack([group.output for group in groups]).reshape(target.shape)
    np.testing.assert_allclose(y, outputs, atol=1e-5)
    np.testing.assert_allclose(
        np.ravel(routed.gate), np.ravel([group.gate for group in groups]), atol=1e-6
    )
    np.testing.assert_allclose(
        np.ravel(routed.entropy_nats), np.ravel([group.entropy for group in groups]), atol=1e-5
    )
    for name in ("balance_loss", "z_loss"):
        expected = np.mean([getattr(group, name) for group in groups])
        assert float(getattr(routed, name)) == pytest.approx(expected, rel=1e-5)
    generator = np.random.default_rng(1)
    for name, slopes in {**vars(layer_slopes), "x": x_slope}.items():
        if slopes is None:
            continue
        for _ in range(2):
            direction = generator.normal(size=slopes.shape)
            ours = np.sum(np.asarray(slopes, np.float64) * direction)
            assert ours == pytest.approx(loops.slope(target, name, direction), rel=1e-3), name


@pytest.mark.parametrize("kind", ROUTINGS)
def test_equals_loops_over_tokens_in_value_and_gradient(layer, tokens, target, kind):
    switch = ROUTINGS[kind]
    result = jax.jit(with_slopes(one_device(), switch, target))(layer, *tokens)
    assert_equal(Loops(layer, tokens, switch), target, result)
    routed = result[0][1][1]
    kept = np.asarray(routed.kept)[np.asarray(tokens[1])]
    if switch.dispatch == "dropless":
        assert kept.all()
    else:
        assert 0.05 < 1 - kept.mean() < 0.5
    capacity = switch.routing(decoder=False, training=True).capacity
    slots = BATCH * EXPERTS * capacity if switch.dispatch == "slots" else kept.sum()
    assert int(routed.slots) == slots


def test_relu_experts_equal_loops(layer, tokens, target):
    relu = SwitchLayer(layer.router, None, layer.up, layer.down)
    result = jax.jit(with_slopes(one_device(), SWITCH, target))(relu, *tokens)
    assert_equal(Loops(relu, tokens, SWITCH), target, result)


def test_jitter_is_noise_on_the_routers_input(layer, tokens, target):
    """The noise is read off a router that shows it, then given to the loops."""
    switch = replace(SWITCH, jitter=0.3)
    shows = SwitchLayer(
        jnp.zeros_like(layer.router).at[:, 0].set(1.0), layer.gate, layer.up, layer.down
    )
    everything = replace(switch, dispatch="dropless").routing(decoder=False, training=True)
    real = jnp.ones((BATCH, LENGTH), bool)
    gate_of = jax.jit(lambda x: shows(x, real, everything, key=KEY, mesh=one_device())[1].gate)
    noise = np.zeros((BATCH, LENGTH, EMBED))
    for dimension in range(EMBED):
        gate = np.asarray(gate_of(jnp.zeros(noise.shape).at[..., dimension].set(1.0)), np.float64)
        noise[..., dimension] = np.log((EXPERTS - 1) * gate / (1 - gate))[..., 0]
    assert 0.7 - 1e-5 < noise.min() < 0.71
    assert 1.29 < noise.max() < 1.3 + 1e-5
    assert noise.std() == pytest.approx(0.6 / math.sqrt(12), rel=0.05)  # uniform
    result = jax.jit(with_slopes(one_device(), switch, target))(layer, *tokens)
    assert_equal(Loops(layer, tokens, switch, noise=noise), target, result)
    assert SWITCH.routing(decoder=False, training=False).jitter == 0


@pytest.mark.parametrize("kind", ["two choices", "dropless, two choices"])
def test_expert_dropout_silences_hidden_units(layer, tokens, target, kind):
    """Which units, is read off experts that show them one at a time, then given to the loops."""
    switch = replace(ROUTINGS[kind], expert_dropout=0.4)
    layer_with_slopes = jax.jit(with_slopes(one_device(), switch, target))
    dropout_mask = np.ones((BATCH, LENGTH, switch.choices, MLP))
    routed = None
    for expert in range(EXPERTS):
        shows = jnp.zeros_like(layer.down).at[expert].set(jnp.eye(MLP, EMBED))
        (_, (y, routed)), _ = layer_with_slopes(
            SwitchLayer(layer.router, layer.gate, layer.up, shows), *tokens
        )
        here = np.asarray((routed.expert == expert) & routed.kept)
        units = np.broadcast_to(np.asarray(y)[:, :, None, :MLP] != 0, dropout_mask.shape)
        dropout_mask[here] = units[here] / 0.6
    assert routed is not None
    assert (dropout_mask[np.asarray(routed.kept)] == 0).mean() == pytest.approx(0.4, abs=0.03)
    assert_equal(
        Loops(layer, tokens, switch, dropout_mask=dropout_mask),
        target,
        layer_with_slopes(layer, *tokens),
    )
    assert switch.routing(decoder=False, training=False).expert_dropout == 0


def test_padding_touches_nothing(layer, tokens):
    x, real = tokens
    louder = jnp.where(real[..., None], x, 100.0)
    for switch in (SWITCH, ROUTINGS["dropless"]):
        y, routed = run(layer, tokens, one_device(), switch)
        again, same = run(layer, (louder, real), one_device(), switch)
        np.testing.assert_array_equal(y, again)
        assert not np.asarray(y)[~np.asarray(real)].any()
        assert routed.balance_loss == same.balance_loss
        assert routed.z_loss == same.z_loss


NOISY = {
    kind: replace(ROUTINGS[kind], jitter=0.1, expert_dropout=0.3)
    for kind in ("switch", "two choices", "dropless, two choices")
}


def every_routing(mesh, target):
    """All routings in one program: compiling is what these tests cost."""
    functions = {kind: with_slopes(mesh, switch, target) for kind, switch in NOISY.items()}
    return jax.jit(lambda *given: {kind: run(*given) for kind, run in functions.items()})


@pytest.fixture(scope="module")
def on_one_device(layer, tokens, target):
    return every_routing(one_device(), target)(layer, *tokens)


@pytest.mark.parametrize("shape", MESHES, ids=str)
def test_devices_do_not_matter(layer, tokens, target, on_one_device, shape):
    """Every split of eight devices, every routing, with noise that must not depend on devices:
    assignments, then values and gradients."""
    results = every_routing(make_mesh(shape), target)(layer, *tokens)
    for kind, result in results.items():
        (_, (y, routed)), slopes = result
        (_, (single_y, single)), single_slopes = on_one_device[kind]
        assert np.array_equal(routed.expert, single.expert), kind
        assert np.array_equal(routed.kept, single.kept), kind
        np.testing.assert_allclose(y, single_y, atol=1e-5, err_msg=kind)
        for ours, theirs in zip(jax.tree.leaves(routed), jax.tree.leaves(single), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=kind)
        for ours, theirs in zip(
            jax.tree.leaves(slopes), jax.tree.leaves(single_slopes), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=1e-5, err_msg=kind)


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

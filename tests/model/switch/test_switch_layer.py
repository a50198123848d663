"""The layer against loops over tokens, and on eight devices against one."""

import functools
import math
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import switch_oracle
from small_networks import assert_close, mesh_of
from switch_case import (
    BATCH,
    CONFIG,
    EMBED,
    EXPERTS,
    KEY,
    LENGTH,
    ROUTINGS,
    SWITCH,
    Loops,
    assert_equal,
    layer,
    tokens,
    with_gradients,
)

from model.config import MeshShape
from model.sharding.layouts import batch_sharding, parameter_shardings
from model.switch.switch_layer import SwitchLayer

MESHES = [
    MeshShape(data=8),
    MeshShape(expert=8),
    MeshShape(model=8),
    MeshShape(data=2, expert=2, model=2),
    MeshShape(data=2, expert=4, slices=4, expert_slices=2),
]


def run(layer, tokens, mesh, switch=SWITCH):
    routing = switch.routing(decoder=False, training=True)
    return jax.jit(lambda layer, x, real: layer(x, real, routing, key=KEY, mesh=mesh))(
        layer, *tokens
    )


@pytest.mark.parametrize("kind", ["top-1", "top-2", "top-3", "dropless", "dropless top-2"])
def test_equals_loops_over_tokens_in_value_and_gradient(kind):
    switch = ROUTINGS[kind]
    result = jax.jit(with_gradients(mesh_of(), switch))(layer(), *tokens())
    assert_equal(Loops(layer(), switch), result)
    routed = result[0][1][1]
    kept = np.asarray(routed.kept)[np.asarray(tokens()[1])]
    capacity = switch.routing(decoder=False, training=True).capacity
    if switch.dispatch == "dropless":
        assert kept.all()
        assert int(routed.expert_slots.sum()) == kept.sum()
    else:
        assert 0.05 < 1 - kept.mean() < 0.5
        assert int(routed.expert_slots.sum()) == BATCH * EXPERTS * capacity


@pytest.mark.parametrize("kind", ["top-1", "top-2"])
def test_biases_move_the_choice_and_no_gate(kind):
    """Large ones, so that most tokens have other experts than the most probable."""
    biases = np.random.default_rng(2).normal(scale=3.0, size=EXPERTS)
    biased = replace(layer(), expert_bias=jnp.asarray(biases, jnp.float32))
    switch = replace(ROUTINGS[kind], bias_rate=0.1)
    result = jax.jit(with_gradients(mesh_of(), switch))(biased, *tokens())
    assert_equal(Loops(biased, switch), result)
    (_, (_, routed)), (slopes, _) = result
    _, plain = run(layer(), tokens(), mesh_of(), ROUTINGS[kind])
    assert np.mean(routed.expert_index[..., 0] == plain.expert_index[..., 0]) < 0.6
    assert not np.any(slopes.expert_bias)


def test_a_shared_expert_is_a_dense_feed_forward_beside_the_routed_ones():
    switch = replace(SWITCH, shared_mlp=12)
    drawn = jax.jit(lambda key: SwitchLayer.init(CONFIG, switch, key=key))(jax.random.key(0))
    plain = jax.jit(lambda key: SwitchLayer.init(CONFIG, SWITCH, key=key))(jax.random.key(0))
    assert drawn.shared.up.shape == (EMBED, 12)
    x = np.asarray(tokens()[0], np.float64)
    gate, up, down = (np.asarray(one, np.float64) for one in vars(drawn.shared).values())
    beside = (switch_oracle.gelu(x @ gate) * (x @ up)) @ down
    y, _ = run(drawn, tokens(), mesh_of(), switch)
    routed, _ = run(plain, tokens(), mesh_of())
    np.testing.assert_allclose(y, routed + beside, atol=1e-5)


def test_jitter_is_noise_on_the_routers_input():
    """The noise is read off a router that shows it, then passed to the loops."""
    switch = replace(SWITCH, jitter=0.3)
    shows = SwitchLayer(
        jnp.zeros_like(layer().router).at[:, 0].set(1.0), layer().gate, layer().up, layer().down
    )
    everything = replace(switch, dispatch="dropless").routing(decoder=False, training=True)
    real = jnp.ones((BATCH, LENGTH), bool)
    gate_of = jax.jit(lambda x: shows(x, real, everything, key=KEY, mesh=mesh_of())[1].gate)
    noise = np.zeros((BATCH, LENGTH, EMBED))
    for dimension in range(EMBED):
        x = np.zeros(noise.shape, np.float32)
        x[..., dimension] = 1.0
        gate = np.asarray(gate_of(x), np.float64)
        noise[..., dimension] = np.log((EXPERTS - 1) * gate / (1 - gate))[..., 0]
    assert 0.7 - 1e-5 < noise.min() < 0.71
    assert 1.29 < noise.max() < 1.3 + 1e-5
    assert noise.std() == pytest.approx(0.6 / math.sqrt(12), rel=0.05)  # uniform
    assert np.unique(noise.round(4)).size > 0.8 * noise.size  # no group has another's
    result = jax.jit(with_gradients(mesh_of(), switch))(layer(), *tokens())
    assert_equal(Loops(layer(), switch, noise=noise), result)
    assert SWITCH.routing(decoder=False, training=False).jitter == 0


def test_padding_touches_nothing():
    x, real = tokens()
    louder = jnp.where(real[..., None], x, 100.0)
    for switch in (SWITCH, ROUTINGS["dropless"]):
        routing = switch.routing(decoder=False, training=True)
        once = jax.jit(lambda x, r=routing: layer()(x, real, r, key=KEY, mesh=mesh_of()))
        (y, routed), (again, same) = once(x), once(louder)
        np.testing.assert_array_equal(y, again)
        assert not np.asarray(y)[~np.asarray(real)].any()
        np.testing.assert_array_equal(routed.balance_loss, same.balance_loss)
        np.testing.assert_array_equal(routed.z_loss, same.z_loss)


NOISY = {
    kind: replace(ROUTINGS[kind], jitter=0.1, expert_dropout=0.3)
    for kind in ("top-1", "top-2", "dropless top-2")
}


def every_routing(mesh):
    """All routings in one program: compiling is what these tests cost."""
    functions = {kind: with_gradients(mesh, switch) for kind, switch in NOISY.items()}
    return jax.jit(lambda *given: {kind: run(*given) for kind, run in functions.items()})


@pytest.fixture(scope="module")
def on_one_device():
    return every_routing(mesh_of())(layer(), *tokens())


# Each axis alone and all together: a split along two axes is two of these.
@pytest.mark.parametrize(
    "shape", [*(pytest.param(m, marks=pytest.mark.slow) for m in MESHES[:3]), *MESHES[3:]], ids=str
)
def test_devices_do_not_matter(on_one_device, shape):
    """Every routing, with noise that must not depend on devices: assignments, values, gradients."""
    results = every_routing(mesh_of(shape))(layer(), *tokens())
    for kind, result in results.items():
        (_, (y, routed)), slopes = result
        (_, (single_y, single)), single_slopes = on_one_device[kind]
        assert np.array_equal(routed.expert_index, single.expert_index), kind
        assert np.array_equal(routed.kept, single.kept), kind
        np.testing.assert_allclose(y, single_y, atol=1e-5, err_msg=kind)
        assert_close(routed, single, atol=1e-5, err_msg=kind)
        assert_close(slopes, single_slopes, atol=2e-5, rtol=1e-5, err_msg=kind)


def test_two_exchanges_each_way_and_gathers_of_weights_only():
    mesh = mesh_of(MeshShape(expert=4, data=2))
    stored = parameter_shardings(layer(), mesh)

    def loss(layer, x):
        y, routing = run(layer, (x, tokens()[1]), mesh)
        return jnp.sum(y**2) + jnp.sum(routing.balance_loss)

    x = tokens()[0]
    rows = batch_sharding(mesh)
    forward = jax.jit(loss, in_shardings=(stored, rows))
    both = jax.jit(
        jax.grad(loss, argnums=(0, 1)), in_shardings=(stored, rows), out_shardings=(stored, rows)
    )
    forward = forward.lower(layer(), x).compile().as_text()
    both = both.lower(layer(), x).compile().as_text()
    assert count("all-to-all", forward) == 2
    assert count("all-to-all", both) == 4
    # Three matrices over data; the router over data and over expert.
    assert count("all-gather", forward) == count("all-gather", both) == 5
    assert count("reduce-scatter", both) == 5


def test_no_sum_over_one_device_and_no_scatter_of_rows():
    x = tokens()[0].astype(jnp.bfloat16)

    def loss(layer, x):
        y, routing = run(layer, (x, tokens()[1]), mesh_of(), ROUTINGS["top-2"])
        return jnp.sum(y**2) + jnp.sum(routing.balance_loss)

    step = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(layer(), x)
    program = step.as_text()
    scatters = re.findall(r"stablehlo\.scatter.*?\}\) : \((.*?)\)", program, re.DOTALL)
    assert scatters  # of numbers: ranks and loads
    assert not [operands for operands in scatters if "bf16" in operands or "f32" in operands]
    for collective in ("all_reduce", "all_gather", "reduce_scatter"):
        assert f"stablehlo.{collective}" not in program


def count(collective, program):
    return sum(
        f" {collective}(" in line or f" {collective}-start(" in line
        for line in program.splitlines()
    )


LARGE = replace(CONFIG, embed=64, mlp=128)


@functools.cache
def drawn(**changes):
    switch = replace(SWITCH, experts=16, **changes)
    return jax.jit(lambda key: SwitchLayer.init(LARGE, switch, key=key))(jax.random.key(0))


def test_the_router_starts_at_its_scale():
    assert np.std(drawn().router) == pytest.approx(0.02, rel=0.05)
    assert np.std(drawn(router_scale=0.18).router) == pytest.approx(0.18, rel=0.05)


def test_the_output_scale_moves_the_last_matrix_and_nothing_else():
    plain, loud = drawn(), drawn(expert_output_scale=16.0)
    np.testing.assert_allclose(loud.down, 16 * plain.down, rtol=1e-6)
    for name in ("router", "gate", "up"):
        np.testing.assert_array_equal(getattr(loud, name), getattr(plain, name))

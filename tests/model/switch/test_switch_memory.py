"""What a switch layer holds on a device, on meshes with several devices along two axes."""

import jax
import jax.numpy as jnp

from model.config import MeshShape, ModelConfig, SwitchConfig
from model.sharding.layouts import batch_sharding
from model.sharding.mesh import make_mesh
from model.switch.switch_layer import SwitchLayer

SWITCH = SwitchConfig(experts=8, every=1, encoder_group_tokens=64, decoder_group_tokens=8)
CONFIG = ModelConfig(
    vocabulary_rows=128, embed=32, heads=2, head=8, mlp=64, layers=1, switch=SWITCH
)


def temporaries(shape):
    """Bytes of temporaries on a device, forward and backward through one switch layer."""
    mesh = make_mesh(shape)
    routing = SWITCH.routing(decoder=False, training=True)

    def objective(layer, x):
        y, routed = layer(x, jnp.ones(x.shape[:2], bool), routing, key=jax.random.key(0), mesh=mesh)
        return jnp.sum(jnp.square(y)) + jnp.sum(routed.balance_loss)

    layer = jax.eval_shape(lambda: SwitchLayer.init(CONFIG, SWITCH, key=jax.random.key(0)))
    x = jax.ShapeDtypeStruct((64, 64, CONFIG.embed), jnp.float32, sharding=batch_sharding(mesh))
    compiled = jax.jit(jax.grad(objective, argnums=(0, 1))).lower(layer, x).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_is_bounded_where_data_and_expert_exceed_one():
    """Constraints alone were measured to take 60.7 GB there, against 0.38 GB on experts alone."""
    experts_alone = temporaries(MeshShape(expert=8))
    assert temporaries(MeshShape(data=2, expert=4)) < 1.25 * experts_alone
    assert temporaries(MeshShape(data=4, expert=2)) < 1.25 * experts_alone

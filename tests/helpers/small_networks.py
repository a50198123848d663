"""Small networks that several test files share, with weights from NumPy.

Compiling is what these tests cost: JAX would compile a program to draw weights, and programs that
are equal in several files are compiled once per session (tests/conftest.py).
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from model.batch import Batch
from model.config import AXES, MeshShape, ModelConfig, OptimizerConfig, SwitchConfig
from model.sharding.layouts import batch_sharding, parameter_shardings
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.trainer import make_trainer
from model.transformer import transformer_shapes

ROWS, SOURCE, TARGET = 8, 16, 8
EMBED = 24  # no two sizes alike, also halved, so that a gathered array is known by its shape
SWITCH = SwitchConfig(
    experts=8,
    every=1,
    encoder_group_tokens=16,
    decoder_group_tokens=8,
    minimum_capacity=1,
    z_loss_weight=1e-3,
)
KINDS = {"dense": None, "switch": SWITCH}
EIGHT = MeshShape(data=2, expert=2, model=2)


def sized(**changes):
    """A network of two narrow layers, dense and in float32 unless it is asked for otherwise."""
    sizes = {"vocabulary_rows": 128, "embed": 16, "heads": 2, "head": 8, "mlp": 24, "layers": 2}
    return ModelConfig(**(sizes | {"activation_dtype": "float32"} | changes))


def config(kind):
    """One switch layer per stack, or two dense ones."""
    return ModelConfig(
        vocabulary_rows=128,
        embed=EMBED,
        heads=8,
        head=9,
        mlp=56,
        layers=2 if kind == "dense" else 1,
        switch=KINDS[kind],
        activation_dtype="float32",
    )


def mesh_of(shape=MeshShape()):  # noqa: B008
    """Returns a mesh of simulated devices, of which any may be taken for slices."""
    devices = jax.devices()[: shape.data * shape.expert * shape.model]
    if shape.slices == 1:
        return make_mesh(shape, devices)
    types = (AxisType.Auto,) * len(AXES)
    return Mesh(np.reshape(devices, list(shape.sizes.values())), AXES, axis_types=types)


@functools.cache
def trainer(kind, shape=MeshShape()):  # noqa: B008
    """Ten steps, whose rate is 0.1 and falls from step 5 on."""
    return trainer_of(config(kind), shape, decay_from=0.5)


def trainer_of(config, shape=MeshShape(), seed=0, accumulate=1, **optimizer):  # noqa: B008
    """A trainer of ten steps; of a mesh of the first simulated devices."""
    given = {"steps": 10, "seed": seed, "mesh": mesh_of(shape), "accumulate": accumulate}
    return make_trainer(config, OptimizerConfig(**({"hold_steps": 100} | optimizer)), **given)


def batch(seed=0, mesh=None):
    """Full rows but for one; on a mesh if one is given."""
    generator = np.random.default_rng(seed)
    inputs = generator.integers(3, 128, (ROWS, SOURCE)).astype(np.int32)
    targets = generator.integers(3, 128, (ROWS, TARGET)).astype(np.int32)
    inputs[2, 9:] = 0
    targets[2, 3:] = 0
    arrays = inputs, targets, np.zeros(ROWS, np.int32)
    rows = Batch(*(jnp.array(array) for array in arrays))
    return rows if mesh is None else jax.device_put(rows, batch_sharding(mesh))


def on_mesh(tree, mesh):
    """A tree of parameters as a mesh stores them."""
    return jax.device_put(tree, parameter_shardings(tree, mesh))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_close(ours, theirs, **tolerance):
    """Compares two trees leaf by leaf.

    With a tolerance, sums of float32 may also differ by 1e-6 of themselves: the order in which they
    are added differs between kinds of processors.
    """
    tolerance = {"rtol": 1e-6} | tolerance if tolerance else tolerance
    for left, right in zip(leaves(ours), leaves(theirs), strict=True):
        np.testing.assert_allclose(left, right, **tolerance)


def drawn_like(shapes, seed=0):
    """Random arrays of these shapes, no two alike; norms are near 1."""
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        near = float("norm" in jax.tree_util.keystr(path))
        return jnp.array(near + 0.2 * generator.normal(size=leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def shapes_of(config):
    """Shapes of a network's arrays, and the network without them."""
    is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731
    return eqx.partition(transformer_shapes(config), is_shape)


def drawn(config, seed=0):
    """A network of random weights."""
    return drawn_like(transformer_shapes(config), seed)


def start(trainer, seed=0):
    """The state of a run at step 0, with random weights, on the trainer's mesh."""
    shapes = jax.eval_shape(trainer.init)
    optimizer = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.optimizer)
    state = TrainState(drawn_like(shapes.arrays, seed), optimizer, jnp.zeros((), jnp.int32))
    return jax.device_put(state, trainer.shardings)

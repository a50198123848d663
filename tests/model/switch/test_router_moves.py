"""Movements of routers, in an order that names their layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from model.nonfinite import gradient_sites
from model.switch.router_moves import of_routers, router_moves
from model.transformer import transformer_shapes
from pipeline.recipe import named


def filled(shapes, value):
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, value) if hasattr(leaf, "shape") else leaf,
        eqx.filter(shapes, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)),
    )


def test_the_moved_router_is_the_named_one():
    config = named.get("switch-demo").model
    shapes = transformer_shapes(config)
    before, after = filled(shapes, 1.0), filled(shapes, 1.0)
    sites = of_routers(gradient_sites(before, config.layers_per_block))
    assert len(sites) == len(set(sites))
    moved = next(site for site in sites if site.layer.startswith("decoder"))

    def move(path, leaf):
        names = [getattr(key, "name", None) for key in path]
        first_block = names[0] == "decoder" and names[-1] == "router"
        return leaf.at[0].add(2.0) if first_block else leaf

    after = jax.tree_util.tree_map_with_path(move, after)
    moves = np.asarray(router_moves(before, after))
    assert len(moves) == len(sites)
    expected = [
        4.0 * config.embed * config.switch.experts if site == moved else 0 for site in sites
    ]
    np.testing.assert_allclose(moves, expected)


def test_a_dense_network_has_no_routers():
    config = named.get("mt5-demo").model
    shapes = filled(transformer_shapes(config), 1.0)
    assert router_moves(shapes, shapes).shape == (0,)
    assert of_routers(gradient_sites(shapes, config.layers_per_block)) == []

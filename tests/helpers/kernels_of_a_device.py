"""The fused attention of one device, with the arguments of `plain_attention`."""

import jax

from model.batch import Visible
from model.config import MeshShape
from model.layers.attention import attend_by_kernel
from model.layers.position_bias import PositionBias
from model.sharding.mesh import make_mesh


def fused_attention(
    query,
    keys,
    values,
    table=None,
    key_mask=None,
    query_example=None,
    key_example=None,
    *,
    heads,
    bidirectional,
    causal,
    interpret=None,
    device=None,
):
    """Returns attention by the kernel of `device`, or by the interpreted one of another kind."""
    bias = None if table is None else PositionBias(table, bidirectional)
    visible = Visible(key_mask, causal, query_example, key_example)
    mesh = make_mesh(MeshShape(), [device or jax.devices()[0]])
    return attend_by_kernel(query, keys, values, bias, visible, heads, mesh, interpret=interpret)

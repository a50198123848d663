"""First weights of a dense student, from a sparse teacher of the same widths.

Source: Fedus et al. 2022 (Switch Transformer), section 4.2 and table 6: "initializing the dense
model with the non-expert weights", which equal widths allow. In place of a sparse feed-forward the
student keeps its own random one, as in the paper, or gets the mean of the experts:

    gate, up = sum over experts of share of assignments * the expert's matrix
    down     = the same, times the expert's mean gate and the experts per token: a sparse layer's
               output is the sum over a token's experts of gate * expert(x)

Layer `inside` of the teacher's block `block` becomes the student's layer `block * period + inside`,
where the period is the number of layers per block (`model/transformer.py`).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from model.batch import Batch, Call
from model.layers.feed_forward import FeedForward
from model.loss.training_loss import row_routings
from model.switch.switch_layer import SwitchLayer
from model.transformer import Layer, Stack, Transformer


class TeacherExpertUse(NamedTuple):
    """The use of a teacher's experts: sums over real tokens, encoder layers before decoder layers.

    Attributes:
        load: number of assignments per expert, before capacity.
        gate: sum of the gates of these assignments, 0 for dropped ones.
    """

    load: Num[Array, "*layers experts"]
    gate: Float[Array, "*layers experts"]

    @property
    def share(self) -> Float[Array, "*layers experts"]:
        """Share of a layer's assignments per expert; sums to 1."""
        return self.load / jnp.maximum(jnp.sum(self.load, axis=-1, keepdims=True), 1)

    @property
    def mean_gate(self) -> Float[Array, "*layers experts"]:
        """Mean gate of an expert's assignments; 0 without any."""
        return self.gate / jnp.maximum(self.load, 1)


def expert_use(teacher: Transformer, batch: Batch, call: Call) -> TeacherExpertUse:
    """Returns the use of a sparse teacher's experts by a batch; uses of batches add up."""
    switch = teacher.config.switch
    assert switch is not None  # a sparse model
    rows = row_routings(teacher(batch, call), batch, switch.experts)
    return TeacherExpertUse(jnp.sum(rows.load, axis=1), jnp.sum(rows.gate, axis=1))


def with_teachers_weights(
    student: Transformer, teacher: Transformer, use: TeacherExpertUse | None = None
) -> Transformer:
    """Returns a dense student with all weights of the teacher except experts and routers.

    Args:
        student: student with random weights, which it keeps for the teacher's sparse feed-forwards.
        teacher: teacher of the same widths, depth and vocabulary.
        use: use of the teacher's experts; if given, sparse feed-forwards become their mean.
    """
    if use is not None and teacher.config.switch is not None:
        # A token has as many assignments as choices, over which shares sum to 1.
        use = use._replace(gate=teacher.config.switch.choices * use.gate)
    sparse = teacher.encoder.blocks[0].self_norm.scale.shape[0]  # switch layers per stack
    encoder_use = jax.tree.map(lambda leaf: leaf[:sparse], use)
    decoder_use = jax.tree.map(lambda leaf: leaf[sparse:], use)
    return Transformer(
        embedding=teacher.embedding,
        encoder=_student_stack(student.encoder, teacher.encoder, encoder_use),
        decoder=_student_stack(student.decoder, teacher.decoder, decoder_use),
        logits=teacher.logits,
        config=student.config,
    )


def _student_stack(student: Stack, teacher: Stack, use: TeacherExpertUse | None) -> Stack:
    (own,), period = student.blocks, len(teacher.blocks)
    layers = [
        _student_layer(
            layer, jax.tree.map(lambda leaf, i=inside: leaf[i::period], own.feed_forward), use
        )
        for inside, layer in enumerate(teacher.blocks)
    ]
    in_order = jax.tree.map(
        lambda *leaves: jnp.stack(leaves, axis=1).reshape(-1, *leaves[0].shape[1:]), *layers
    )
    return Stack(
        blocks=(in_order,),
        position_bias=teacher.position_bias,
        final_norm=teacher.final_norm,
        switch=None,
        decoder=teacher.decoder,
    )


def _student_layer(layer: Layer, own: FeedForward, use: TeacherExpertUse | None) -> Layer:
    """Returns the teacher's layers, one per block, with a dense feed-forward."""
    if isinstance(layer.feed_forward, FeedForward):
        return layer
    dense = own if use is None else jax.vmap(mean_of_experts)(layer.feed_forward, use)
    return eqx.tree_at(lambda layer: layer.feed_forward, layer, dense)


def mean_of_experts(layer: SwitchLayer, use: TeacherExpertUse) -> FeedForward:
    """Returns the mean of one layer's experts, weighted by load.

    Args:
        layer: the switch layer.
        use: use of its experts.
    """

    def mean(
        matrices: Float[Array, "experts in out"], weight: Float[Array, " experts"]
    ) -> Float[Array, "in out"]:
        return jnp.einsum("e,eio->io", weight, matrices, precision=jax.lax.Precision.HIGHEST)

    return FeedForward(
        gate=None if layer.gate is None else mean(layer.gate, use.share),
        up=mean(layer.up, use.share),
        down=mean(layer.down, use.share * use.mean_gate),
    )

"""The encoder-decoder in T5's and mT5's shape, dense or with every n-th feed-forward sparse.

Embedding, two stacks, logits or their factors. The configuration sets the version of T5 and which
feed-forwards are sparse; the code has one network. Dense and sparse stacks differ in the
feed-forward only.

A stack has pre-norm residual layers, one final norm and one position-bias table. It groups layers
into equal blocks, which are scanned, so that compile time does not depend on depth. A block is one
dense layer, or dense layers followed by a sparse one. `Call.remat` sets what the backward pass
keeps of a block.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from model.batch import Batch, Call, Visible
from model.config import ModelConfig, SwitchConfig
from model.layers.attention import Attention
from model.layers.feed_forward import NO_DROPOUT, Dropout, FeedForward, RMSNorm
from model.layers.position_bias import PositionBias
from model.layers.products import kernel, lookup, summed_in_float32
from model.loss.cross_entropy import LogitFactors
from model.remat import rematerialize
from model.sharding.layouts import constrain
from model.switch.switch_layer import Routing, SwitchLayer

# Numbers of the places of dropout: within a stack, and within a layer.
BLOCKS, INPUT, OUTPUT = range(3)
WEIGHTS, AFTER_ATTENTION, CROSS_WEIGHTS, AFTER_CROSS_ATTENTION, HIDDEN, AFTER_FEED_FORWARD = range(
    6
)
UNROLLED = 4  # blocks; 4 layers take 12 % fewer CPU-seconds than scanned and compile quickly


class Layer(eqx.Module):
    """One layer: self-attention, in the decoder cross-attention, then a feed-forward."""

    self_norm: RMSNorm
    self_attention: Attention
    cross_norm: RMSNorm | None
    cross_attention: Attention | None
    feed_forward_norm: RMSNorm
    feed_forward: FeedForward | SwitchLayer

    @staticmethod
    def init(
        config: ModelConfig, switch: SwitchConfig | None, *, decoder: bool, key: Key[Array, ""]
    ) -> "Layer":
        """Draws a layer, sparse if `switch` is given."""
        keys = jax.random.split(key, 3)
        return Layer(
            self_norm=RMSNorm.init(config.embed),
            self_attention=Attention.init(config, key=keys[0]),
            cross_norm=RMSNorm.init(config.embed) if decoder else None,
            cross_attention=Attention.init(config, key=keys[1]) if decoder else None,
            feed_forward_norm=RMSNorm.init(config.embed),
            feed_forward=(
                FeedForward.init(config, key=keys[2])
                if switch is None
                else SwitchLayer.init(config, switch, key=keys[2])
            ),
        )


class StackInputs(NamedTuple):
    """The inputs that all layers of a stack share."""

    visible: Visible
    is_token: Bool[Array, "batch length"]
    source: Float[Array, "batch source embed"] | None
    visible_source: Visible | None
    dropout: Dropout = NO_DROPOUT


class StackOutput(NamedTuple):
    """The output of an encoder or a decoder.

    Attributes:
        x: activations after the final norm.
        routing: routing with a leading dimension of blocks; None if dense.
        finite: whether each layer's output is finite, per row: rows are on different devices, so
            they are not reduced here.
    """

    x: Float[Array, "batch length embed"]
    routing: Routing | None
    finite: Bool[Array, "layers batch"]


class Stack(eqx.Module):
    """An encoder or a decoder."""

    blocks: tuple[Layer, ...]
    position_bias: PositionBias
    final_norm: RMSNorm
    switch: SwitchConfig | None = eqx.field(static=True)
    decoder: bool = eqx.field(static=True)

    @staticmethod
    def init(config: ModelConfig, *, decoder: bool, key: Key[Array, ""]) -> "Stack":
        """Draws all blocks, each from its own key."""
        block_key, bias_key = jax.random.split(key)

        def block(key: Key[Array, ""]) -> tuple[Layer, ...]:
            keys = jax.random.split(key, config.layers_per_block)
            kinds = [None] * (config.layers_per_block - 1) + [config.switch]
            return tuple(
                Layer.init(config, switch, decoder=decoder, key=key)
                for switch, key in zip(kinds, keys, strict=True)
            )

        return Stack(
            blocks=eqx.filter_vmap(block)(jax.random.split(block_key, config.blocks)),
            position_bias=PositionBias.init(
                heads=config.heads,
                slope=config.distance_slope,
                bidirectional=not decoder,
                key=bias_key,
            ),
            final_norm=RMSNorm.init(config.embed),
            switch=config.switch,
            decoder=decoder,
        )

    def __call__(
        self, x: Float[Array, "batch length embed"], inputs: StackInputs, call: Call
    ) -> StackOutput:
        """Runs all blocks and the final norm."""
        weights, static = eqx.partition(self.blocks, eqx.is_array)
        count = jax.tree.leaves(weights)[0].shape[0]
        dropout = call.dropout_of(len(x))
        x = dropout.at(INPUT)(x)

        def body(x, block):
            weights, number = block
            block_inputs = inputs._replace(dropout=dropout.at(BLOCKS).at(number))
            return self._block(x, eqx.combine(weights, static), block_inputs, call, number)

        # Unrolled, the values for the backward pass stay in place instead of being stacked. With
        # remat a scan is needed: it keeps the rematerialized parts apart.
        unroll = count <= UNROLLED and call.remat == "none"
        blocks = weights, jnp.arange(count)
        x, (routing, finite) = jax.lax.scan(
            rematerialize(body, call.remat), x, blocks, unroll=unroll
        )
        x = dropout.at(OUTPUT)(self.final_norm(x))
        routing = routing and routing.over_groups()
        return StackOutput(x, routing, finite.reshape(-1, len(x)))

    def _block(self, x, layers: tuple[Layer, ...], inputs: StackInputs, call: Call, number):
        routing, finite = None, []
        for place, layer in enumerate(layers):
            dropout = inputs.dropout.at(place)
            x = x + self.attend(layer, x, inputs, call.mesh, dropout)
            y, layer_routing = self.feed_forward(layer, x, inputs.is_token, call, number, dropout)
            routing = layer_routing or routing
            y = dropout.at(AFTER_FEED_FORWARD)(y)
            x = constrain(x + y, "batch length embed", call.mesh)
            finite.append(jnp.isfinite(x).all(axis=(1, 2)))
        return x, (routing, jnp.stack(finite))

    def feed_forward(
        self,
        layer: Layer,
        x: Float[Array, "batch length embed"],
        is_token: Bool[Array, "batch length"],
        call: Call,
        number: Int[Array, ""],
        dropout: Dropout = NO_DROPOUT,
    ) -> tuple[Float[Array, "batch length embed"], Routing | None]:
        """Returns the feed-forward's residual update of `x` in block `number`, and its routing."""
        y = layer.feed_forward_norm(x)
        if isinstance(layer.feed_forward, FeedForward):
            return layer.feed_forward(y, call.mesh, dropout.at(HIDDEN)), None
        assert self.switch is not None  # only a sparse stack has switch layers
        microbatch, microbatches = call.part
        return layer.feed_forward(
            y,
            is_token,
            self.switch.routing(decoder=self.decoder, training=call.training),
            key=None if call.key is None else jax.random.fold_in(call.key, number),
            mesh=call.mesh,
            microbatch=microbatch,
            microbatches=microbatches,
            dropout=dropout.at(HIDDEN),
        )

    def attend(
        self, layer: Layer, x, inputs: StackInputs, mesh: Mesh, dropout: Dropout = NO_DROPOUT
    ) -> Float[Array, "batch length embed"]:
        """Returns the residual update of `x` by the attentions of a layer."""
        y = layer.self_norm(x)
        y = layer.self_attention(
            y, y, self.position_bias, inputs.visible, mesh, dropout.at(WEIGHTS)
        )
        y = dropout.at(AFTER_ATTENTION)(y)
        if layer.cross_attention is None or layer.cross_norm is None:
            return y
        assert inputs.source is not None  # the decoder's
        assert inputs.visible_source is not None
        z = layer.cross_norm(x + y)
        z = layer.cross_attention(
            z, inputs.source, None, inputs.visible_source, mesh, dropout.at(CROSS_WEIGHTS)
        )
        return y + dropout.at(AFTER_CROSS_ATTENTION)(z)


class Output(NamedTuple):
    """The output of a forward pass.

    Attributes:
        decoded: the decoder's output, of which `Transformer.head` makes logits.
        encoder_routing, decoder_routing: routing with a leading dimension of blocks; None if dense.
        finite_layers: number of layers, the encoder's before the decoder's, before the first with
            nonfinite output; all layers if none has.
    """

    decoded: Float[Array, "batch target embed"]
    encoder_routing: Routing | None
    decoder_routing: Routing | None
    finite_layers: Int[Array, " batch"]

    @property
    def routings(self) -> tuple[Routing, Routing]:
        """Routing of the encoder and of the decoder of a sparse network."""
        assert self.encoder_routing is not None
        assert self.decoder_routing is not None
        return self.encoder_routing, self.decoder_routing


class Transformer(eqx.Module):
    """The whole network."""

    embedding: Float[Array, "vocabulary embed"]
    encoder: Stack
    decoder: Stack
    logits: Float[Array, "embed vocabulary"] | None
    config: ModelConfig = eqx.field(static=True)

    @staticmethod
    def init(config: ModelConfig, *, key: Key[Array, ""]) -> "Transformer":
        """Draws the weights of a network."""
        keys = jax.random.split(key, 4)
        rows, embed = config.vocabulary_rows, config.embed
        return Transformer(
            embedding=jax.random.normal(keys[0], (rows, embed)),
            encoder=Stack.init(config, decoder=False, key=keys[1]),
            decoder=Stack.init(config, decoder=True, key=keys[2]),
            logits=None
            if config.tied_logits
            else kernel(
                (embed, rows), fan_in=embed, scale=config.initialization_scale, key=keys[3]
            ),
            config=config,
        )

    def __call__(self, batch: Batch, call: Call) -> Output:
        """Runs encoder and decoder over all target positions."""
        encoder_call, decoder_call = call, call
        if call.key is not None:
            keys = jax.random.split(call.key)
            encoder_call, decoder_call = call._replace(key=keys[0]), call._replace(key=keys[1])
        encoded = self.encode(batch, encoder_call)
        decoded = self.decode(batch, encoded.x, decoder_call)
        finite = jnp.concatenate([encoded.finite, decoded.finite]).astype(jnp.int32)
        return Output(
            decoded=decoded.x,
            encoder_routing=encoded.routing,
            decoder_routing=decoded.routing,
            finite_layers=jnp.sum(jnp.cumprod(finite, axis=0), axis=0),
        )

    def encode(self, batch: Batch, call: Call) -> StackOutput:
        """Runs the encoder."""
        inputs = StackInputs(
            visible=batch.source_to_source,
            is_token=batch.is_source,
            source=None,
            visible_source=None,
        )
        return self.encoder(self.embed(batch.inputs, call), inputs, call)

    def decode(
        self, batch: Batch, source: Float[Array, "batch source embed"], call: Call
    ) -> StackOutput:
        """Runs the decoder over all target positions at once."""
        inputs = StackInputs(
            visible=batch.target_to_target,
            is_token=batch.is_target,
            source=source,
            visible_source=batch.target_to_source,
        )
        return self.decoder(self.embed(batch.decoder_inputs, call), inputs, call)

    def head(
        self, decoded: Float[Array, "batch target embed"]
    ) -> Float[Array, "batch target vocabulary"]:
        """Returns float32 logits of the decoder's output, whole: not for large batches."""
        x, matrix = self.logit_factors(decoded)
        return summed_in_float32("bte,ev->btv", x, matrix.astype(x.dtype))

    def logit_factors(self, decoded: Float[Array, "batch target embed"]) -> LogitFactors:
        """Returns the factors whose product is the logits of the decoder's output.

        If tied to the embedding, which has unit variance, the output is first scaled by embed^-0.5,
        as in T5 1.0 (Mesh TensorFlow's `shared_embedding_and_softmax_weights`).
        """
        if self.logits is not None:
            return LogitFactors(decoded, self.logits)
        scale = jnp.asarray(self.config.embed**-0.5, decoded.dtype)
        return LogitFactors(decoded * scale, self.embedding.T)

    def embed(
        self, ids: Int[Array, "batch length"], call: Call
    ) -> Float[Array, "batch length embed"]:
        """Returns the embeddings of ids."""
        dtype = jnp.dtype(self.config.activation_dtype)
        return lookup(self.embedding, ids, dtype, call.mesh)


def transformer_shapes(config: ModelConfig) -> Transformer:
    """Returns a network of `jax.ShapeDtypeStruct`; nothing is computed."""
    key = jax.eval_shape(jax.random.key, 0)
    return eqx.filter_eval_shape(Transformer.init, config, key=key)


def parameter_count(model: Transformer) -> int:
    """Returns the number of parameters of a network of arrays or of shapes."""
    kinds = jax.Array | np.ndarray | jax.ShapeDtypeStruct
    leaves = jax.tree.leaves(eqx.filter(model, lambda leaf: isinstance(leaf, kinds)))
    return sum(leaf.size for leaf in leaves)

"""The encoder-decoder: T5's and mT5's shape, dense or with every n-th feed-forward sparse.

Embedding, two stacks (`stack.py`), logits or their factors. The configuration sets the version of
T5 and which feed-forwards are sparse; the code has one network.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from model.batch import Batch
from model.call import Call
from model.config import ModelConfig
from model.layers.initialization import kernel
from model.layers.products import lookup
from model.loss.chunks import LogitFactors
from model.precision import summed_in_float32
from model.stack import Stack, StackInputs, StackOutput
from model.switch.switch_layer import Routing


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
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(model, _has_size)))


def _has_size(leaf: object) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)

"""The input of the network: a batch, its parts of whole rows, and the inputs of a call.

A batch is the model's side of the contract with the loader. Microbatches of gradient accumulation
and the parts in which a batch is scored are cut alike, and each device keeps its own rows: no row
moves between devices, and a routing group is never split. A call also has what a forward pass needs
besides weights and tokens.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Int, Key, Shaped

from model.config import PADDING, Remat
from model.layers.feed_forward import NO_DROPOUT, Dropout
from model.sharding.layouts import batch_shards, constrain

# Folded into a stack's key for dropout; a block's number is, for its router's noise.
DROPOUT = 2**32 - 1


class Batch(eqx.Module):
    """Rows of token ids; 0 is padding.

    A row may pack several examples. Each position then has the number of its example, the same for
    an example's inputs and targets. Examples of a row share experts' capacity and nothing else, and
    relative positions need no reset.

    Attributes:
        inputs: ids that the encoder reads, EOS included.
        targets: ids that the decoder predicts, EOS included.
        language: position of the row's language in the mixture, or -1.
        input_example, target_example: example number of each position; None if every row is one
            example, as from span corruption.
    """

    inputs: Int[Array, "batch source"]
    targets: Int[Array, "batch target"]
    language: Int[Array, " batch"]
    input_example: Int[Array, "batch source"] | None = None
    target_example: Int[Array, "batch target"] | None = None

    @property
    def decoder_inputs(self) -> Int[Array, "batch target"]:
        """Targets shifted by one: each position reads the token before it in its example."""
        before = jnp.pad(self.targets[:, :-1], ((0, 0), (1, 0)), constant_values=PADDING)
        if self.target_example is None:
            return before
        same = self.target_example[:, 1:] == self.target_example[:, :-1]
        return jnp.where(jnp.pad(same, ((0, 0), (1, 0))), before, PADDING)

    @property
    def is_source(self) -> Bool[Array, "batch source"]:
        """True for real input tokens, False for padding."""
        return self.inputs != PADDING

    @property
    def is_target(self) -> Bool[Array, "batch target"]:
        """True for real target tokens, False for padding."""
        return self.targets != PADDING

    @property
    def source_to_source(self) -> "Visible":
        """Keys of the encoder's self-attention: all inputs of the same example."""
        return Visible(self.is_source, False, self.input_example, self.input_example)

    @property
    def target_to_target(self) -> "Visible":
        """Keys of the decoder's self-attention: the target and earlier ones of its example."""
        return Visible(None, True, self.target_example, self.target_example)

    @property
    def target_to_source(self) -> "Visible":
        """Keys of the cross-attention: all inputs of the same example."""
        return Visible(self.is_source, False, self.target_example, self.input_example)


class Visible(NamedTuple):
    """Which keys a query attends to.

    Attributes:
        is_key: False for keys that are padding; None if none is.
        causal: True if a query attends to itself and earlier positions only.
        query_example, key_example: example numbers, of which only equal ones attend to each other;
            None if every row is one example.
    """

    is_key: Bool[Array, "batch keys"] | None
    causal: bool
    query_example: Int[Array, "batch queries"] | None
    key_example: Int[Array, "batch keys"] | None

    def mask(
        self, queries: int, keys: int, first: Int[Array, ""] | int = 0
    ) -> Bool[Array, "#batch #queries keys"]:
        """Returns True for the pairs of positions that attend.

        Args:
            queries, keys: numbers of positions.
            first: position of the first query, whose example number `query_example` begins with.
        """
        mask = jnp.ones((1, 1, keys), bool)
        if self.causal:
            mask = (first + jnp.arange(queries)[:, None] >= jnp.arange(keys))[None]
        if self.is_key is not None:
            mask = mask & self.is_key[:, None, :]
        if self.query_example is None or self.key_example is None:
            return mask
        return mask & (self.query_example[:, :, None] == self.key_example[:, None, :])


def split_rows(
    rows: Shaped[Array, "batch *rest"], parts: int, mesh: Mesh
) -> Shaped[Array, "parts rows *rest"]:
    """Splits each device's own rows, so that no row moves between devices."""
    shards, rest = batch_shards(mesh), rows.shape[1:]
    split = rows.reshape(shards, parts, -1, *rest)
    split = jnp.moveaxis(split, 1, 0).reshape(parts, -1, *rest)
    return constrain(split, " ".join(("microbatches", "batch", *("length",) * len(rest))), mesh)


def join_rows(
    values: Shaped[Array, "parts rows *rest"], mesh: Mesh
) -> Shaped[Array, "batch *rest"]:
    """Restores the order of rows that `split_rows` changed."""
    parts, rest = values.shape[0], values.shape[2:]
    split = values.reshape(parts, batch_shards(mesh), -1, *rest)
    return jnp.moveaxis(split, 0, 1).reshape(-1, *rest)


def row_numbers(
    count: int, part: Int[Array, ""] | int, parts: int, mesh: Mesh
) -> Int[Array, " count"]:
    """Returns the number in the batch of each row of a part.

    Args:
        count: rows of the part.
        part: number of the part, as `split_rows` cuts it.
        parts: parts per batch.
        mesh: the devices.
    """
    size = count // batch_shards(mesh)
    shard, within = jnp.divmod(jnp.arange(count), size)
    return (shard * parts + part) * size + within


class Microbatch(NamedTuple):
    """One step of gradient accumulation.

    Attributes:
        number: position in the batch, from 0.
        total: number of microbatches per batch.
        source_tokens, target_tokens: numbers of real tokens in the whole batch.
    """

    number: Int[Array, ""] | int
    total: int
    source_tokens: Int[Array, ""]
    target_tokens: Int[Array, ""]

    @staticmethod
    def whole(batch: Batch) -> "Microbatch":
        """Returns a batch as its only microbatch."""
        return Microbatch(0, 1, jnp.sum(batch.is_source), jnp.sum(batch.is_target))


class Call(NamedTuple):
    """The inputs of a forward pass besides weights and tokens.

    Attributes:
        mesh: the devices.
        key: key of all noise: the router's jitter, dropout, expert dropout; None outside training.
        remat: what the backward pass keeps of a block.
        microbatch: position in gradient accumulation; None if the batch is computed at once.
        logits_bytes: largest size of the logits on a device; the loss computes more in chunks.
        dropout: rate of dropout in training, of everything but experts' hidden units.
    """

    mesh: Mesh
    key: Key[Array, ""] | None = None
    remat: Remat = "none"
    microbatch: Microbatch | None = None
    logits_bytes: int = 2**30
    dropout: float = 0.0

    @property
    def training(self) -> bool:
        """True if the forward pass has randomness."""
        return self.key is not None

    @property
    def part(self) -> tuple[Int[Array, ""] | int, int]:
        """Number of the microbatch, and the number of microbatches per batch."""
        return (0, 1) if self.microbatch is None else self.microbatch[:2]

    def dropout_of(self, rows: int) -> Dropout:
        """Returns the dropout of this pass over a batch, or a microbatch, of rows."""
        if self.key is None or self.dropout == 0:
            return NO_DROPOUT
        key = jax.random.fold_in(self.key, DROPOUT)
        return Dropout.of_rows(self.dropout, key, row_numbers(rows, *self.part, self.mesh))

"""What a forward pass is given besides weights and tokens: devices, noise, memory, microbatch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from model.batch import Batch
from model.config import Remat
from model.layers.dropout import NO_DROPOUT, Dropout
from model.row_parts import row_numbers

# Folded into a stack's key for dropout; a block's number is, for its router's noise.
DROPOUT = 2**32 - 1


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

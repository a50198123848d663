"""The input of the network: the model's side of the contract with the loader."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

PADDING = 0  # also the decoder's input before its first token, as in T5


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

    def mask(self, queries: int, keys: int) -> Bool[Array, "#batch #queries keys"]:
        """Returns True for the pairs of positions that attend."""
        mask = causal_mask(queries) if self.causal else jnp.ones((1, 1, keys), bool)
        if self.is_key is not None:
            mask = mask & self.is_key[:, None, :]
        if self.query_example is None or self.key_example is None:
            return mask
        return mask & (self.query_example[:, :, None] == self.key_example[:, None, :])


def causal_mask(length: int) -> Bool[Array, "1 length length"]:
    """Returns the mask by which each position attends to itself and earlier ones."""
    return jnp.tril(jnp.ones((1, length, length), bool))

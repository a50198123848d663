"""The input of the network: the model's side of the contract with the loader."""

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
    def source_to_source(self) -> Bool[Array, "batch #queries keys"]:
        """Mask of the encoder's self-attention: all inputs of the same example."""
        real = self.is_source[:, None, :]
        return real & same_example(self.input_example, self.input_example)

    @property
    def target_to_target(self) -> Bool[Array, "#batch queries keys"]:
        """Mask of the decoder's self-attention: the target and earlier ones of its example."""
        causal = causal_mask(self.targets.shape[1])
        return causal & same_example(self.target_example, self.target_example)

    @property
    def target_to_source(self) -> Bool[Array, "batch #queries keys"]:
        """Mask of the cross-attention: all inputs of the same example."""
        real = self.is_source[:, None, :]
        return real & same_example(self.target_example, self.input_example)


def same_example(
    queries: Int[Array, "batch queries"] | None, keys: Int[Array, "batch keys"] | None
) -> Bool[Array, "#batch #queries #keys"]:
    """Returns which pairs of positions belong to one example; all if rows are not packed."""
    if queries is None or keys is None:
        return jnp.ones((1, 1, 1), bool)
    return queries[:, :, None] == keys[:, None, :]


def causal_mask(length: int) -> Bool[Array, "1 length length"]:
    """Returns the mask by which each position attends to itself and earlier ones."""
    return jnp.tril(jnp.ones((1, length, length), bool))

"""What the network is fed: the model's side of the contract with the loader."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

PADDING = 0  # also what the decoder reads before its first token, as in T5


class Batch(eqx.Module):
    """Rows of ids; 0 is padding.

    A row may pack several examples: positions then say by a number which example they belong to,
    the same number for an example's inputs and targets. Nothing crosses from one to the other but
    through an expert's capacity, and relative positions need no reset.

    Attributes:
        inputs: what the encoder reads, EOS included.
        targets: what the decoder must write, EOS included.
        language: position of the row's language in the mixture, or -1.
        input_example, target_example: number of the example of each position; None where a row is
            one example, as span corruption makes them.
    """

    inputs: Int[Array, "batch source"]
    targets: Int[Array, "batch target"]
    language: Int[Array, " batch"]
    input_example: Int[Array, "batch source"] | None = None
    target_example: Int[Array, "batch target"] | None = None

    @property
    def decoder_inputs(self) -> Int[Array, "batch target"]:
        """The targets one place later: each position sees what came before it in its example."""
        before = jnp.pad(self.targets[:, :-1], ((0, 0), (1, 0)), constant_values=PADDING)
        if self.target_example is None:
            return before
        same = self.target_example[:, 1:] == self.target_example[:, :-1]
        return jnp.where(jnp.pad(same, ((0, 0), (1, 0))), before, PADDING)

    @property
    def is_source(self) -> Bool[Array, "batch source"]:
        """True where the encoder has a token."""
        return self.inputs != PADDING

    @property
    def is_target(self) -> Bool[Array, "batch target"]:
        """True where a target counts."""
        return self.targets != PADDING

    @property
    def source_to_source(self) -> Bool[Array, "batch #queries keys"]:
        """Which inputs an input sees."""
        real = self.is_source[:, None, :]
        return real & same_example(self.input_example, self.input_example)

    @property
    def target_to_target(self) -> Bool[Array, "#batch queries keys"]:
        """Which targets a target sees: itself and those before it, of its own example."""
        causal = causal_mask(self.targets.shape[1])
        return causal & same_example(self.target_example, self.target_example)

    @property
    def target_to_source(self) -> Bool[Array, "batch #queries keys"]:
        """Which inputs a target sees."""
        real = self.is_source[:, None, :]
        return real & same_example(self.target_example, self.input_example)


def same_example(
    queries: Int[Array, "batch queries"] | None, keys: Int[Array, "batch keys"] | None
) -> Bool[Array, "#batch #queries #keys"]:
    """Returns which positions belong to one example; all of a row where it is not packed."""
    if queries is None or keys is None:
        return jnp.ones((1, 1, 1), bool)
    return queries[:, :, None] == keys[:, None, :]


def causal_mask(length: int) -> Bool[Array, "1 length length"]:
    """Returns the mask that lets each position see itself and what came before."""
    return jnp.tril(jnp.ones((1, length, length), bool))

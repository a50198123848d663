"""What the network is fed: the model's side of the contract with the loader."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

PADDING = 0  # also what the decoder reads before its first token, as in T5


class Batch(eqx.Module):
    """Rows of ids; 0 is padding.

    Attributes:
        inputs: what the encoder reads, EOS included.
        targets: what the decoder must write, EOS included.
        language: position of the row's language in the mixture, or -1.
    """

    inputs: Int[Array, "batch source"]
    targets: Int[Array, "batch target"]
    language: Int[Array, " batch"]

    @property
    def decoder_inputs(self) -> Int[Array, "batch target"]:
        """The targets one place later: each position sees what came before it."""
        return jnp.pad(self.targets[:, :-1], ((0, 0), (1, 0)), constant_values=PADDING)

    @property
    def is_source(self) -> Bool[Array, "batch source"]:
        """True where the encoder has a token."""
        return self.inputs != PADDING

    @property
    def is_target(self) -> Bool[Array, "batch target"]:
        """True where a target counts."""
        return self.targets != PADDING

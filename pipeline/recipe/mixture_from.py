"""A mixture from one step of a run on, as its recipe records it."""

from dataclasses import dataclass

from model.config import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class MixtureFrom:
    """Other languages, weights or tokens from one step on.

    Attributes:
        step: number of steps made before.
        mixture: weights of the languages, as in the recipe.
        tokens: directory or address of the token blocks; "" for those before this step.
    """

    step: int
    mixture: str
    tokens: str = ""

    def __post_init__(self):
        if self.step < 1:
            raise ConfigurationError(
                f"A mixture from step {self.step} was asked; the first is the recipe's `mixture`, "
                "and others begin at step 1 or later."
            )

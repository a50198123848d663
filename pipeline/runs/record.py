"""The files that describe a run, as their readers need them: recipe.json and mixture.json.

JAX is not imported: a report compares the recipe's settings as JSON values. Whoever trains or loads
the network makes a `Recipe` of them, which checks every field.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from data.files.json_files import Count, RelativePath
from model import (
    DENSE_STEPS_SINCE,
    NUMERICS_VERSION,
    SLOPED_STEPS_SINCE,
    SPARSE_STEPS_SINCE,
)

UPCYCLED = "upcycled"  # name of the dense run among the inputs of a run that began as it
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class RecordedTeacher(Struct, frozen=True, kw_only=True):
    """The teacher of a student.

    Attributes:
        recipe: name of the teacher's recipe.
        seed: seed of the teacher.
        step: step of its weights.
        experts: number of experts per switch layer; None for a dense teacher.
        parameters: number of weights.
        fingerprint: fingerprint of the weights.
    """

    recipe: str
    seed: Seed
    parameters: Count
    step: Count = 0
    experts: Count | None = None
    fingerprint: str = ""


class RecordedPruning(Struct, frozen=True, kw_only=True):
    """How a run was pruned.

    Attributes:
        languages: codes of the languages that it was made for.
        experts: number of experts per switch layer before.
        run: digest of the manifest of the run before; empty if it was not recorded.
        others: what became of the other experts, in words; empty if it was not recorded.
    """

    languages: tuple[str, ...]
    experts: Count
    run: str = ""
    others: str = ""


class RecordedDense(Struct, frozen=True, kw_only=True):
    """The dense run that an upcycled one began as.

    Attributes:
        run: directory of the run, as it was named.
        recipe: name of its recipe.
        seed: seed of the run.
        step: step of its weights; 0 for an imported run.
        begins_at: first step of the upcycled run: `step`, or 0 if it reads other examples.
        parameters: number of weights; None if not recorded.
        flops: training FLOPs of its steps; None for an imported run.
        logits: standard deviation of the first router logits.
        noise: noise on the copies, relative to each matrix.
    """

    run: str
    recipe: str
    seed: Seed
    step: Count
    begins_at: Count
    parameters: Count | None = None
    flops: Annotated[int, Meta(ge=0)] | None = None
    logits: float = 0.0
    noise: float = 0.0


class SwitchFacts(Struct, frozen=True):
    """What every reader needs of `model.switch`."""

    experts: Count


class ModelFacts(Struct, frozen=True):
    """What every reader needs of `model`."""

    switch: SwitchFacts | None


class RecipeFacts(Struct, frozen=True):
    """What every reader needs of a recipe."""

    name: str
    seed: Seed
    steps: Count
    model: ModelFacts


class RunRecord(Struct, frozen=True, kw_only=True):
    """recipe.json.

    Attributes:
        recipe: settings of the run; at least those of `RecipeFacts`.
        parameters: number of weights; None if not recorded.
        flops_per_sequence: FLOPs per sequence of the forward pass; None if not recorded.
        devices: kind of each device.
        inputs: digest of each input, by name.
        numerics_version: version that began the run; 1 if not recorded.
        commits: commits of the code that have trained the run.
        teacher: teacher of a student.
        pruned: how the run was pruned; None if it was not.
        upcycled: dense run that an upcycled one began as.
    """

    recipe: dict[str, Any]
    parameters: Count | None = None
    flops_per_sequence: Annotated[int, Meta(ge=0)] | None = None
    devices: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    numerics_version: int = 1
    commits: tuple[str, ...] = ()
    teacher: RecordedTeacher | None = None
    pruned: RecordedPruning | None = None
    upcycled: RecordedDense | None = None

    def __post_init__(self):
        msgspec.convert(self.recipe, RecipeFacts)

    @property
    def has_todays_steps(self) -> bool:
        """Whether this code computes the run's steps, if perhaps not its first weights."""
        model = self.recipe["model"]
        since = DENSE_STEPS_SINCE if model["switch"] is None else SPARSE_STEPS_SINCE
        if model.get("distance_slope"):
            since = SLOPED_STEPS_SINCE
        return since <= self.numerics_version <= NUMERICS_VERSION


class TokensSeen(Struct, frozen=True):
    """One language of mixture.json; of a fine-tuned run one `TASK/LANGUAGE`, or pretraining."""

    tokens_seen: Annotated[float, Meta(ge=0)]


class MixtureRecord(Struct, frozen=True):
    """mixture.json."""

    languages: dict[RelativePath, TokensSeen] = {}

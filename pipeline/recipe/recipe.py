"""A recipe: a complete description of a run, one frozen value and its JSON.

A run depends on its recipe and its data only, so the recipe stored with a run is sufficient to
repeat it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Flag, auto
from typing import Annotated, Any, get_type_hints

from data.errors import join_names
from data.examples.span_corruption import LEAST_INPUTS, MOST_INPUTS, Lengths, lengths_for_inputs
from data.files.json_files import of_shape
from model.config import (
    ConfigurationError,
    DistillationConfig,
    MeshShape,
    ModelConfig,
    OptimizerConfig,
    Remat,
    SwitchConfig,
    require,
    require_ascending,
)
from model.flops import forward_flops
from pipeline.artifacts import unknown_fields
from pipeline.errors import ArtifactError


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig:
    """How a run is fine-tuned; defaults are those of Switch (section 2.4) and mT5 (section 4.2).

    Attributes:
        tasks: names of the tasks.
        languages: languages of the training examples; all of the tasks' if empty. Evaluation has
            all languages.
        targets: decoder tokens per row.
        dropout: rate of dropout outside experts; that of experts is `model.switch.expert_dropout`.
        pretraining_share: share of rows that are pretraining's, against answers in the wrong
            language; mT5 has 0.01 in zero-shot generation.
    """

    tasks: tuple[str, ...]
    languages: tuple[str, ...] = ()
    targets: int = 16
    dropout: float = 0.1
    pretraining_share: float = 0.0

    def __post_init__(self):
        if self.targets < 1:
            raise ConfigurationError(
                f"finetuning.targets was {self.targets}; a target has 1 token or more."
            )
        for name in ("dropout", "pretraining_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigurationError(
                    f"finetuning.{name} was {getattr(self, name)}; it must be at least 0 and below "
                    "1."
                )


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


MOST = 2**31 - 1  # steps are counted in 32 bits on the devices
SEEDS = 2**32  # JAX ignores higher bits: seed 2**32 gave the first weights of seed 0
# Settings that recipe.json has only if they are set, so that runs begun before they existed resume.
SELDOM_SET = ("distillation", "finetuning", "held_out_pages", "mixture_from")
SELDOM_SET_OF_SWITCH = ("balance_loss_over", "bias_rate", "quantile_rate", "shared_mlp")


class Differs(Flag):
    """Where a setting may differ.

    Attributes:
        UNCLAIMED: on a resume, unrecorded: it changes neither a step's result nor its randomness.
        CHANGED: on a resume, recorded: steps that are made stay as they were.
        BRANCH: between a branch and its trunk.
        SIDES: between two sides of a report.
    """

    UNCLAIMED = auto()
    CHANGED = auto()
    BRANCH = auto()
    SIDES = auto()
    INTERVAL = CHANGED | BRANCH | SIDES
    FREE = UNCLAIMED | BRANCH | SIDES


def may_differ(where: Differs) -> frozenset[str]:
    """Returns the names of the settings that may differ somewhere."""
    hints = get_type_hints(Recipe, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return frozenset(
        name for name, differs in marks.items() if any(where & mark for mark in differs)
    )


def fixed_settings(settings: Mapping[str, Any], where: Differs) -> dict[str, Any]:
    """Returns the settings of a recipe that may not differ somewhere."""
    free = may_differ(where)
    return {name: value for name, value in settings.items() if name not in free}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a training run; only the tokens are not part of it.

    Attributes:
        name: name of the recipe.
        model: configuration of the network.
        rows: rows per batch, over all devices.
        inputs: encoder tokens per row; lengths of raw window and targets follow from it.
        steps: number of updates.
        optimizer: update rule and learning-rate schedule.
        mixture: weights of the languages: temperature:ALPHA over pages, proportional, uniform,
            unimax:EPOCHS:CHARACTERS or weights:FILE (`data/examples/mixture.py`).
        mixture_from: mixtures that replace this one, in ascending order of their steps.
        seed: seed of weights, order and spans.
        evaluate_every: interval in steps of evaluations on held-out pages, of which one more
            follows the last step; 0 trains without evaluation.
        held_out_pages: largest number of held-out pages of a language that are scored, its first
            ones, which bounds an evaluation's time; 0 scores all.
        checkpoint_every, log_every: intervals in steps.
        keep_every: interval in steps of the checkpoints that are never deleted, for runs that
            branch off there; 0 keeps only the last two.
        mesh: number of devices along each axis.
        accumulate: number of microbatches per batch, which lower memory; the update is that of the
            whole batch.
        remat: what the backward pass keeps of a block, from most to least: none (everything),
            products, attention, exchanges, full (its input only); trades memory for time and
            changes no result (`model/remat.py`).
        logits_mib: MiB of float32 logits that a device holds at one time; a loss of more tokens is
            computed in chunks, which changes no result.
        distillation: settings for learning from a teacher; None for a run on text alone. No named
            recipe has it: `mswitch distill` adds it to a dense one.
        finetuning: settings of fine-tuning; None in pretraining. `mswitch finetune` adds it.
    """

    name: Annotated[str, Differs.BRANCH | Differs.SIDES]
    model: ModelConfig
    rows: int
    inputs: int
    steps: Annotated[int, Differs.CHANGED | Differs.BRANCH]
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    mixture: str = "temperature:0.3"
    mixture_from: tuple[MixtureFrom, ...] = ()
    seed: Annotated[int, Differs.SIDES] = 0
    evaluate_every: Annotated[int, Differs.INTERVAL] = 5_000
    held_out_pages: int = 0
    checkpoint_every: Annotated[int, Differs.INTERVAL] = 5_000
    log_every: Annotated[int, Differs.INTERVAL] = 100
    keep_every: Annotated[int, Differs.FREE] = 0
    mesh: Annotated[MeshShape, Differs.FREE] = field(default_factory=MeshShape)
    accumulate: Annotated[int, Differs.FREE] = 1
    remat: Annotated[Remat, Differs.FREE] = "none"
    logits_mib: Annotated[int, Differs.FREE] = 1024
    distillation: DistillationConfig | None = None
    finetuning: FinetuningConfig | None = None

    def __post_init__(self):
        if self.inputs < LEAST_INPUTS:
            raise ConfigurationError(
                f"inputs was {self.inputs}; span corruption needs {LEAST_INPUTS} or more."
            )
        counts = "rows", "steps", "checkpoint_every", "log_every", "accumulate"
        require(self, (*counts, "logits_mib"), lambda value: value >= 1, "1 or more")
        nothing = {"evaluate_every": "never", "held_out_pages": "all", "keep_every": "the last two"}
        for name, none in nothing.items():
            require(self, (name,), lambda value: value >= 0, f"0 ({none}) or more")
        limited = (*counts, *nothing, "logits_mib", "inputs")
        require(self, limited, lambda value: value <= MOST, f"at most {MOST:,}")
        if self._hides_spans and self.inputs > MOST_INPUTS:
            raise ConfigurationError(
                f"inputs was {self.inputs:,}; span corruption hides more spans in them than the "
                f"100 sentinels can mark, so set inputs to at most {MOST_INPUTS:,}."
            )
        if not 0 <= self.seed < SEEDS:
            raise ConfigurationError(
                f"seed was {self.seed}; it must be from 0 to {SEEDS - 1}, because first weights "
                "follow from 32 bits of it."
            )
        require_ascending("mixture_from", [mixture.step for mixture in self.mixture_from])
        if self.keep_every % self.checkpoint_every:
            raise ConfigurationError(
                f"keep_every was {self.keep_every}; it must be a multiple of checkpoint_every "
                f"({self.checkpoint_every}), or 0."
            )

    @property
    def stage(self) -> str:
        """Name of the command that trains the recipe."""
        if self.finetuning is not None:
            return "finetune"
        return "pretrain" if self.distillation is None else "distill"

    @property
    def _hides_spans(self) -> bool:
        return self.finetuning is None or self.finetuning.pretraining_share > 0

    @property
    def logits_bytes(self) -> int:
        """Bytes of float32 logits that a device holds at one time."""
        return self.logits_mib * 2**20

    def evaluates_at(self, step: int) -> bool:
        """Returns whether held-out pages are scored after a step."""
        every = self.evaluate_every
        return every > 0 and (step % every == 0 or step == self.steps)

    @property
    def lengths(self) -> Lengths:
        """Lengths of a row's raw window, inputs and targets."""
        lengths = lengths_for_inputs(self.inputs)
        if self.finetuning is None:
            return lengths
        return lengths._replace(targets=self.finetuning.targets)

    @property
    def dropout(self) -> float:
        """Rate of dropout outside experts; 0 in pretraining."""
        return 0.0 if self.finetuning is None else self.finetuning.dropout


def sparse(baseline: Recipe, name: str, switch: SwitchConfig) -> Recipe:
    """Returns the baseline with switch layers and no other difference."""
    return replace(baseline, name=name, model=replace(baseline.model, switch=switch))


def with_rows(recipe: Recipe, rows: int) -> Recipe:
    """Returns the recipe with these vocabulary rows if it has none of its own."""
    if recipe.model.vocabulary_rows:
        return recipe
    return replace(recipe, model=replace(recipe.model, vocabulary_rows=rows))


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Returns the recipe as JSON values, with some settings only if they are set.

    These are `SELDOM_SET`, `SELDOM_SET_OF_SWITCH`, `model.distance_slope` and
    `optimizer.rate_from`, which most runs do not have.
    """
    unset = [name for name in SELDOM_SET if not getattr(recipe, name)]
    value = {name: setting for name, setting in asdict(recipe).items() if name not in unset}
    if not recipe.optimizer.rate_from:
        del value["optimizer"]["rate_from"]
    if not recipe.model.distance_slope:
        del value["model"]["distance_slope"]
    if (switch := value["model"]["switch"]) is not None:
        for name in SELDOM_SET_OF_SWITCH:
            if switch[name] == getattr(SwitchConfig, name):
                del switch[name]
    return value


def recipe_from_json(value: dict[str, Any], place: str = "The recipe") -> Recipe:
    """Returns the recipe from the JSON values of `recipe_to_json`.

    Args:
        value: the JSON values.
        place: the file that they were read from, for messages.

    Raises:
        DataError: if a value has the wrong type or range.
        ArtifactError: if a setting is unknown.
    """
    recipe = of_shape(value, Recipe, place)
    if unknown := sorted(unknown_fields(value, asdict(recipe))):
        raise ArtifactError(
            f"{place} has the settings {join_names(unknown)}, which this version does not know; "
            "correct their names, or use the mswitch that wrote it."
        )
    return recipe


def step_flops(recipe: Recipe) -> int:
    """Returns a training step's matrix-product FLOPs: forward, and twice as many backward.

    Rematerialized products are not counted, as MFU counts useful work.
    """
    lengths = recipe.lengths
    return 3 * recipe.rows * forward_flops(recipe.model, lengths.inputs, lengths.targets)

"""A finished run as a teacher: its fitness, its identity, its weights, and its student's training.

The student's recipe is the dense recipe with `distillation` set. Loop, examples, evaluations and
checkpoints are those of pretraining (`run.py`), so that a student is comparable with its baseline.
The teacher reads the student's batches. If the first weights are the teacher's, they become
checkpoint 0, and the student resumes as any run. Source: Fedus et al. 2022, section 4.2;
docs/decisions/distillation.md decides what the paper leaves open.

A student and its teacher read the same token ids, so they need one vocabulary. The share of the
teacher's gain that a student keeps can be computed only if both were trained on the same tokens.
The student's recipe.json records the teacher with a fingerprint of its weights, which is compared
when the student is resumed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import equinox as eqx
import jax
from jax.sharding import Mesh
from msgspec import structs

from data.files.json_files import read_json
from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from model.batch import Call
from model.config import ConfigurationError, ModelConfig
from model.conversions.student import TeacherExpertUse, expert_use, with_teachers_weights
from model.fingerprints import fingerprint
from model.loss.training_loss import Distillation
from model.sharding.mesh import make_mesh
from model.step import TrainState
from model.transformer import Transformer, parameter_count
from pipeline.artifacts import digest_of_manifest, json_differences
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions, TrackerName
from pipeline.recipe import named
from pipeline.recipe.fits import check_divides, check_memory, taught_by
from pipeline.recipe.recipe import Recipe
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.checkpoints import write_first_checkpoint
from pipeline.runs.directory import (
    RunRecord,
    check_same_vocabulary,
    checkpoint_read,
    find_finished_run,
)
from pipeline.runs.opened_run import recipe_of, restore
from pipeline.stage import Job, Reading
from pipeline.training.loop import Training, device_batches
from pipeline.training.prepare import prepare
from pipeline.training.run import job_of, make_training
from pipeline.training.shapes import shape_of, weight_layout


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A finished run that teaches.

    Attributes:
        directory: the teacher's run directory.
        recipe: recipe of the teacher.
        inputs: digest of each input of the teacher's run, by name.
    """

    directory: Place
    recipe: Recipe
    inputs: dict[str, str]

    @property
    def identity(self) -> str:
        """Recipe, seed and digest of the manifest, known before any weight is read."""
        digest = digest_of_manifest(self.directory)
        return f"{self.recipe.name}, seed {self.recipe.seed}, {digest}"

    def weights(self, mesh: Mesh) -> tuple[Transformer, dict[str, Any]]:
        """Returns the network of the best or last checkpoint, and its record for recipe.json."""
        trainer = trainer_on(self.recipe, mesh)
        arrays, step = restore(self.directory, trainer, None)
        switch = self.recipe.model.switch
        record = {
            "recipe": self.recipe.name,
            "seed": self.recipe.seed,
            "step": step,
            "experts": None if switch is None else switch.experts,
            "parameters": parameter_count(trainer.shapes),
            "fingerprint": fingerprint(arrays),
        }
        return trainer.model(arrays), record


def find(directory: Place) -> Teacher:
    """Returns the run in a directory.

    Raises:
        ArtifactError: if the directory holds no run, or the run is not finished.
    """
    record = find_finished_run(directory)
    recipe = recipe_of(record, directory)
    return Teacher(directory=directory, recipe=recipe, inputs=record.inputs)


def check_teaches(teacher: Teacher, recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that a run can teach a recipe on these tokens.

    Raises:
        ArtifactError: if the vocabulary, the tokens or the widths differ, if the student is sparse,
            or if its batches do not fill the teacher's routing groups.
        ConfigurationError: if a device would need more memory than it has.
    """
    check_text(teacher, blocks)
    check_student(teacher, recipe)
    check_fills_groups(teacher, recipe)
    check_memory(recipe, teacher.recipe.model)


def check_fills_groups(teacher: Teacher, recipe: Recipe) -> None:
    """Checks that a student's batches are whole routing groups of its teacher.

    Raises:
        ArtifactError: if they are not.
    """
    try:
        check_divides(taught_by(recipe, teacher.recipe.model))
    except ConfigurationError as error:
        raise ArtifactError(
            f"{teacher.directory} cannot teach {recipe.name}'s batches: {error}"
        ) from error


def check_text(teacher: Teacher, blocks: TokenBlocks) -> None:
    """Checks vocabulary and tokens; an imported teacher has no tokens to compare.

    Raises:
        ArtifactError: if the teacher has another vocabulary or was trained on other tokens.
    """
    trained_on = teacher.inputs.get("tokens")
    if trained_on not in (None, digest_of_manifest(blocks.directory)):
        raise ArtifactError(
            f"{teacher.directory} was trained on other tokens than {blocks.address}, so the "
            "share of its gain that a student keeps could not be computed; name "
            "the tokens that it was trained on."
        )
    check_same_vocabulary(teacher.directory, blocks)


def check_student(teacher: Teacher, recipe: Recipe) -> None:
    """Checks that a recipe is dense and, unless it starts from random weights, of equal shape.

    Raises:
        ArtifactError: if the recipe is sparse, its shape or its vocabulary rows differ from the
            teacher's, or it is to be the mean of experts beside which the teacher has a shared one.
    """
    check_dense(recipe, "name the baseline's recipe")
    rows = teacher.recipe.model.vocabulary_rows
    check_rows(teacher, recipe, f"add --set model.vocabulary_rows={rows}")
    assert recipe.distillation is not None  # set for every student
    switch, first = teacher.recipe.model.switch, recipe.distillation.initialization
    if first == "experts-mean" and switch is not None and switch.shared_mlp:
        raise ArtifactError(
            f"{teacher.directory} has a shared expert beside its experts, and a feed-forward of "
            "their width cannot be both; set distillation.initialization to non-experts or random."
        )
    dense = replace(teacher.recipe.model, switch=None)
    if first != "random" and weight_layout(dense) != weight_layout(recipe.model):
        theirs, ours = (shape_of(model) for model in (dense, recipe.model))
        raise ArtifactError(
            f"{teacher.directory} has another shape than recipe {recipe.name} "
            f"({'; '.join(json_differences(theirs, ours))}), so its weights do not fit; name "
            f"{' or '.join(_fitting(dense)) or 'a dense recipe of that shape'}, or add "
            "--set distillation.initialization=random."
        )


def check_dense(recipe: Recipe, remedy: str) -> None:
    """Checks that a student has no experts.

    Raises:
        ArtifactError: if it has.
    """
    if recipe.model.switch is not None:
        raise ArtifactError(
            f"Recipe {recipe.name} has {recipe.model.switch.experts} experts, and a student is "
            f"dense; {remedy}."
        )


def check_rows(teacher: Teacher, recipe: Recipe, remedy: str) -> None:
    """Checks that a student has as many vocabulary rows as its teacher, or takes the tokens'.

    Raises:
        ArtifactError: if it has not.
    """
    theirs, ours = teacher.recipe.model.vocabulary_rows, recipe.model.vocabulary_rows
    if ours not in (0, theirs):  # 0: as the tokens say
        raise ArtifactError(
            f"{teacher.directory} has {theirs} vocabulary rows and recipe {recipe.name} {ours}, "
            f"and a student's logits are compared with its teacher's; {remedy}."
        )


def _fitting(dense: ModelConfig) -> list[str]:
    """Returns the named dense recipes of a network's shape, whatever their vocabularies."""
    models = {name: named.get(name).model for name in named.names()}
    return [
        name
        for name, model in models.items()
        if model.switch is None
        and shape_of(replace(model, vocabulary_rows=dense.vocabulary_rows)) == shape_of(dense)
    ]


def check_same_teacher(out: Place, record: Mapping[str, Any]) -> None:
    """Checks that a resumed student has the teacher of its earlier steps.

    Args:
        out: the student's run directory.
        record: the teacher's record for recipe.json.

    Raises:
        ArtifactError: if the run's recipe.json records other weights.
    """
    path = out / "recipe.json"
    teacher = read_json(path, RunRecord).teacher if exists(path) else None
    if teacher is None:
        return
    recorded = {name: value for name, value in structs.asdict(teacher).items() if value != ""}
    if lines := json_differences(recorded, {name: record[name] for name in recorded}):
        raise ArtifactError(
            f"{out} was begun with another teacher ({'; '.join(lines)}); restore that teacher, or "
            "name another --out."
        )


def distilling(
    recipe: Recipe,
    tokens: str,
    out: Place,
    directory: Place,
    *,
    profile: tuple[int, int] | None,
    track: tuple[TrackerName, ...],
    cache: CacheOptions,
) -> Job:
    """Returns the job that trains a student on its teacher's tokens.

    The teacher's weights are read when it runs.

    Args:
        recipe: the student's recipe.
        tokens: directory or address of the tokens.
        out: the student's directory.
        directory: the teacher's directory.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        cache: cache for blocks of an object store.

    Raises:
        ArtifactError: if the run cannot start; the message lists all reasons.
    """
    teacher = find(directory)
    checks = [partial(check_teaches, teacher)]
    prepared = prepare(
        recipe, tokens, out, checks=checks, profile=profile, track=track, cache=cache
    ).with_input("teacher", teacher.identity)
    config = recipe.distillation
    assert config is not None  # set for every student

    def begin() -> tuple[Training, Mapping[str, Any]]:
        network, record = teacher.weights(make_mesh(prepared.recipe.mesh))
        check_same_teacher(out, record)
        training = make_training(prepared, Distillation(config, network))
        if config.initialization != "random":
            write_teachers_weights(training, network)
        return training, {"teacher": record}

    def reads() -> Sequence[Reading]:
        return [checkpoint_read("teacher", directory, None)]

    return job_of(prepared, tokens, begin, reads)


USE_BATCHES = 16  # training batches to count the experts' loads in; 64 rows were enough


def write_teachers_weights(training: Training, teacher: Transformer) -> None:
    """Writes checkpoint 0 with the teacher's weights, unless the run has a checkpoint.

    Raises:
        ArtifactError: if checkpoint 0 cannot be written.
    """

    def first() -> TrainState:
        state = training.trainer.init()
        return state._replace(arrays=first_weights(training, teacher, state.arrays))

    write_first_checkpoint(training.out, first)


def first_weights(training: Training, teacher: Transformer, drawn: Transformer) -> Transformer:
    """Returns the student's first arrays, with the shardings of its run.

    Args:
        training: the student's loop inputs.
        teacher: the teacher's network.
        drawn: the student's random arrays, drawn from its seed.
    """
    trainer, config = training.trainer, training.recipe.distillation
    assert config is not None  # set for every student
    mean = config.initialization == "experts-mean" and teacher.config.switch is not None
    use = use_of_experts(training, teacher) if mean else None
    arrays, rest = eqx.partition(teacher, eqx.is_array)

    def take(drawn, arrays, use: TeacherExpertUse | None):
        student = with_teachers_weights(trainer.model(drawn), eqx.combine(arrays, rest), use)
        return eqx.filter(student, eqx.is_array)

    return jax.jit(take, out_shardings=trainer.shardings.arrays)(drawn, arrays, use)


def use_of_experts(training: Training, teacher: Transformer) -> TeacherExpertUse:
    """Returns the teacher's expert loads over the run's first batches."""
    arrays, rest = eqx.partition(teacher, eqx.is_array)
    call = Call(training.trainer.mesh)
    count = jax.jit(lambda arrays, batch: expert_use(eqx.combine(arrays, rest), batch, call))
    uses = [count(arrays, batch) for batch in islice(device_batches(training, 0), USE_BATCHES)]
    return jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *uses)

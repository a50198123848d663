"""A finished run as a teacher: whether it can teach a recipe, who it is, and its weights.

A student and its teacher read the same ids, so they need one vocabulary; and what the student keeps
of the teacher's gain can only be told where both were trained on the same tokens. Who the teacher
is stands in the student's recipe.json, with a fingerprint of its weights; on resume it is compared.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from data.tokens.blocks import TokenBlocks
from model.checkpoint import fingerprint
from model.config import ConfigurationError
from model.transformer import Transformer, parameter_count
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.recipe.fits import check_divides
from pipeline.recipe.recipe import Recipe, recipe_from_json
from pipeline.runs.directory import check_same_vocabulary, find_finished_run
from pipeline.runs.open import restore, trainer_on
from pipeline.training.first_weights import array_shapes


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A run that teaches.

    Attributes:
        directory: the run's.
        recipe: it was trained by.
        inputs: digests of what it was made from.
    """

    directory: Path
    recipe: Recipe
    inputs: dict[str, str]

    @property
    def identity(self) -> str:
        """Who it is, before any weight is read: recipe, seed and digest of its manifest."""
        digest = digest_of_manifest(self.directory)
        return f"{self.recipe.name}, seed {self.recipe.seed}, {digest}"

    def weights(self, mesh: Mesh) -> tuple[Transformer, dict[str, Any]]:
        """Returns the network of its last checkpoint on a mesh, and what recipe.json says of it."""
        trainer = trainer_on(self.recipe, mesh)
        arrays, step = restore(self.directory, trainer, None)
        switch = self.recipe.model.switch
        facts = {
            "recipe": self.recipe.name,
            "seed": self.recipe.seed,
            "step": step,
            "experts": None if switch is None else switch.experts,
            "parameters": parameter_count(trainer.shapes),
            "fingerprint": fingerprint(arrays),
        }
        return trainer.model(arrays), facts


def find(directory: Path) -> Teacher:
    """Returns the run in a directory.

    Raises:
        ArtifactError: there is none, or it is not finished.
    """
    about = find_finished_run(directory)
    recipe = recipe_from_json(about["recipe"])
    return Teacher(directory=directory, recipe=recipe, inputs=about["inputs"])


def check_teaches(teacher: Teacher, recipe: Recipe, blocks: TokenBlocks) -> None:
    """Checks that a run can teach a recipe on these tokens.

    Raises:
        ArtifactError: another vocabulary, other tokens, a sparse student, other widths, or routing
            groups that the student's batches do not fill.
    """
    check_text(teacher, blocks)
    check_student(teacher, recipe)
    try:
        check_divides(replace(recipe, model=teacher.recipe.model))
    except ConfigurationError as error:
        raise ArtifactError(
            f"{teacher.directory} cannot teach {recipe.name}'s batches: {error}"
        ) from error


def check_text(teacher: Teacher, blocks: TokenBlocks) -> None:
    """Checks vocabulary and tokens; an imported teacher has no tokens to compare.

    Raises:
        ArtifactError: they are not the teacher's.
    """
    trained_on = teacher.inputs.get("tokens")
    if trained_on not in (None, digest_of_manifest(blocks.directory)):
        raise ArtifactError(
            f"{teacher.directory} was trained on other tokens than {blocks.directory}, so what a "
            "student keeps of its gain could not be told; name the tokens that it was trained on."
        )
    check_same_vocabulary(teacher.directory, blocks)


def check_student(teacher: Teacher, recipe: Recipe) -> None:
    """Checks that a recipe is dense and, to start from the teacher's weights, of its widths.

    Raises:
        ArtifactError: it is not.
    """
    if recipe.model.switch is not None:
        raise ArtifactError(
            f"Recipe {recipe.name} has {recipe.model.switch.experts} experts, and a student is "
            "dense; name the baseline's recipe."
        )
    assert recipe.distillation is not None  # of a student
    dense = replace(teacher.recipe.model, switch=None)
    random = recipe.distillation.initialization == "random"
    if not random and array_shapes(dense) != array_shapes(recipe.model):
        raise ArtifactError(
            f"{teacher.directory} has other widths than recipe {recipe.name} ({dense} against "
            f"{recipe.model}), so its weights do not fit; name the teacher's baseline, or add "
            "--set distillation.initialization=random."
        )

"""What a plan is asked for: the recipe with its settings, mesh and dense run."""

from collections.abc import Sequence

from model.config import ConfigurationError
from pipeline.arguments import Plan
from pipeline.planning.topology import Topology
from pipeline.recipe import named
from pipeline.recipe.fits import check_divides
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe
from pipeline.training.from_runs.upcycle import SHAPE, check_one_shape


def requested_recipe(arguments: Plan) -> Recipe:
    """Returns the recipe with its overrides.

    Raises:
        ConfigurationError: if its vocabulary rows follow from tokens, which a plan does not read.
    """
    recipe = override(named.get(arguments.recipe), arguments.overrides)
    if not recipe.model.vocabulary_rows:
        raise ConfigurationError(
            f"{recipe.name} has as many vocabulary rows as its tokens need, which a plan does not "
            "read; name them, for example --set model.vocabulary_rows=2048."
        )
    return recipe


def dense_recipe(arguments: Plan, recipe: Recipe) -> Recipe | None:
    """Returns the recipe of the dense run that the recipe begins as, or None if there is none.

    It has the recipe's optimizer: moments of another rule would not be carried.

    Raises:
        ConfigurationError: if the recipe cannot begin as it.
    """
    if not arguments.upcycle:
        return None
    fields = {f"model.{name}" for name in SHAPE}
    shared = [
        one
        for one in arguments.overrides
        if one.partition("=")[0] in fields or one.startswith("optimizer.")
    ]
    dense = override(named.get(arguments.upcycle), shared)
    if dense.model.switch is not None or recipe.model.switch is None:
        raise ConfigurationError(
            f"--upcycle {arguments.upcycle} was given with --recipe {arguments.recipe}; a Switch "
            "begins as a dense run: name a dense recipe and a Switch."
        )
    check_one_shape(dense, recipe, arguments.upcycle)
    return dense


def on_mesh(recipe: Recipe, overrides: Sequence[str], devices: Topology) -> Recipe:
    """Returns the recipe with the mesh of the overrides, or else one of all devices.

    Raises:
        ConfigurationError: if the recipe's sizes do not divide.
    """
    asked = {setting.partition("=")[0] for setting in overrides}
    if asked & {"mesh.data", "mesh.expert", "mesh.model"}:
        check_divides(recipe)
        return recipe
    return with_mesh(recipe, len(devices.devices))

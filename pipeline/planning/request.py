"""What a plan is asked for: options that belong together, and recipes with their settings."""

from collections.abc import Sequence

from model.configuration_checks import ConfigurationError
from pipeline.arguments import Plan
from pipeline.planning.topology import Topology
from pipeline.recipe import named
from pipeline.recipe.fits import check_divides
from pipeline.recipe.mesh_choice import with_mesh
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe
from pipeline.training.from_runs.upcycle import SHAPE, check_one_shape

CHOSEN = {"mesh.data", "mesh.expert", "mesh.model", "remat", "accumulate"}  # by --cheapest


def check_options(arguments: Plan) -> None:
    """Checks that a plan has one topology, and a search has slices.

    Raises:
        ConfigurationError: if they are missing or do not belong together.
    """
    _check_belongs(arguments)
    if arguments.cheapest and not arguments.slices:
        raise ConfigurationError(
            "--cheapest was given without slices; write for example --slices v5p:2x2x4 h100:1x8."
        )
    if arguments.cheapest and arguments.upcycle:
        raise ConfigurationError(
            f"--upcycle {arguments.upcycle} was given with --cheapest, which plans the steps alone;"
            " give it with the --topology that is chosen."
        )
    if not arguments.cheapest and not arguments.topology:
        raise ConfigurationError(
            "A plan needs --topology, for example v5p:2x2x4; or --cheapest with --slices."
        )


def _check_belongs(arguments: Plan) -> None:
    """Checks that all options that were given are of the same way to plan, and limits positive.

    Raises:
        ConfigurationError: if an option would have no effect, or no run keeps to a limit.
    """
    asked = vars(arguments)
    alone, search = ("topology", "moves", "remedies"), ("slices", "days", "budget", "most")
    others = alone if arguments.cheapest else search
    if changed := [name for name in others if asked[name] != getattr(Plan, name)]:
        ignored = ["--no-remedies" if name == "remedies" else f"--{name}" for name in changed]
        given = f"{' and '.join(ignored)} {'were' if ignored[1:] else 'was'} given"
        raise ConfigurationError(
            f"{given} with --cheapest, which plans --slices instead; leave one of them out."
            if arguments.cheapest
            else f"{given} without --cheapest, which reads them; add it, or plan --topology alone."
        )
    settings = {setting.partition("=")[0] for setting in arguments.overrides}
    if arguments.cheapest and (chosen := sorted(settings & CHOSEN)):
        raise ConfigurationError(
            f"--set {' and '.join(chosen)} {'were' if chosen[1:] else 'was'} given with "
            "--cheapest, which chooses them; leave one of them out."
        )
    if arguments.budget is not None and not arguments.price:
        raise ConfigurationError(
            f"--budget {arguments.budget:g} was given without --price, which names the money of a "
            "chip-hour; add it, for example --price v5p=4.2 h100=2.5."
        )
    for name in ("days", "budget"):
        if asked[name] is not None and not asked[name] > 0:
            raise ConfigurationError(
                f"--{name} {asked[name]:g} was given, which no run keeps to; write a number above "
                "0, or leave it out."
            )


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

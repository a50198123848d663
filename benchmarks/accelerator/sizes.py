"""What is measured: whole recipes on an accelerator, tiny ones on a CPU."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.recipe import named
from pipeline.recipe.fits import with_mesh
from pipeline.recipe.overrides import override
from pipeline.recipe.recipe import Recipe

REMAT = "remat=attention"
TINY = ("model.vocabulary_rows=512", "model.layers=2", "inputs=32", REMAT)
TINY_GROUPS = ("model.switch.encoder_group_tokens=64", "model.switch.decoder_group_tokens=32")


@dataclass(frozen=True)
class Sizes:
    """Sizes of all measurements.

    Attributes:
        dense, sparse: recipe and its settings.
        experts: numbers of experts, the first that fits is measured; none leaves the recipe's.
        rows: rows per device, the first that fit are measured.
        steps: steps that are timed.
        attention: rows, queries, keys, heads and head of the kernel's arrays.
        precision_rows: rows of the batch whose gradients are compared.
    """

    dense: tuple[str, tuple[str, ...]]
    sparse: tuple[str, tuple[str, ...]]
    experts: tuple[int, ...]
    rows: tuple[int, ...]
    steps: int
    attention: tuple[int, int, int, int, int]
    precision_rows: int


WHOLE = Sizes(
    dense=("mt5-base", (REMAT,)),
    sparse=("mswitch-base", (REMAT,)),
    experts=(128, 64, 32, 16),
    rows=(256, 128, 64, 32),  # a decoder's routing group is 32 rows
    steps=10,
    attention=(4, 1024, 1024, 12, 64),
    precision_rows=8,
)
SMALL = Sizes(
    dense=("mt5-demo", TINY),
    sparse=("switch-demo", (*TINY, *TINY_GROUPS)),
    experts=(4,),
    rows=(8,),
    steps=2,
    attention=(1, 40, 40, 2, 16),
    precision_rows=4,
)


def candidates(recipe: tuple[str, tuple[str, ...]], sizes: Sizes, devices: int) -> Iterator[Recipe]:
    """Yields a recipe at all sizes, in order of preference: many experts, then many rows."""
    name, settings = recipe
    whole = override(named.get(name), settings)
    experts = sizes.experts if whole.model.switch else (0,)
    for count in experts:
        for rows in sizes.rows:
            changes = [f"rows={rows * devices}"]
            changes += [f"model.switch.experts={count}"] if count else []
            yield with_mesh(override(whole, changes), devices)

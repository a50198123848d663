"""`mswitch plan`: memory, traffic and least time of a recipe on devices that need not be there."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.command import Command
from pipeline.fields import Out, Overrides, Price


@dataclass(frozen=True, kw_only=True)
class Plan(Command):
    """Compile a recipe's programs for devices without having them: memory, time and cost.

    Needs the extra `plan` (libtpu) for TPUs, `plan-gpu` (JAX's CUDA plugin) for GPUs.
    """

    example: ClassVar = "--recipe mswitch-base --topology v5p:2x4x4"

    recipe: str
    """Name from `mswitch recipes`."""
    topology: str
    """TPU slice, such as v5p:4x8x8, v5e:16x16, v6e:16x16, v4:4x4x4 or tpu7x:4x4x4; GPUs, such as
    h100:8 or h100:4x8 (hosts x GPUs per host); or cpu:8."""
    overrides: Overrides = ()
    """field=value, as for `pretrain`; the mesh is chosen if no mesh field is set."""
    upcycle: str = ""
    """Recipe of the dense run, to plan a run of `pretrain --upcycle`."""
    price: Price = 0.0
    """Price of one chip for one hour, in any currency."""
    remedies: bool = True
    """If the recipe does not fit, compile changed recipes until one fits."""
    moves: int = 0
    """Number of instructions to list, those that move the most bytes first."""
    out: Out[Path] | None = None
    """File to write the plan to as JSON."""

    def check(self) -> None:
        """Checks the recipe, its settings and the topology's name."""
        from pipeline.planning.topology import check_name
        from pipeline.recipe import named
        from pipeline.recipe.overrides import override

        override(named.get(self.recipe), self.overrides)
        check_name(self.topology)

    def work(self) -> None:
        """Compiles the programs and prints the plan."""
        from pipeline.planning.plan import plan
        from pipeline.recipe import named
        from pipeline.recipe.overrides import override

        plan(
            override(named.get(self.recipe), self.overrides),
            self.topology,
            self.overrides,
            upcycle=self.upcycle,
            price=self.price,
            with_remedies=self.remedies,
            moves=self.moves,
            out=self.out,
        )

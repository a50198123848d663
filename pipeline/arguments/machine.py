"""The commands about recipes and machines."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.arguments.shared import StageArguments


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Compile a recipe's programs for devices without having them: memory, time and cost.

    Needs the extra `plan` (libtpu) for TPUs, `plan-gpu` (JAX's CUDA plugin) for GPUs.
    """

    recipe: str
    """Name from `mswitch recipes`."""
    topology: str
    """TPU slice, such as v5p:4x8x8, v5e:16x16, v6e:16x16, v4:4x4x4 or tpu7x:4x4x4; GPUs, such as
    h100:8 or h100:4x8 (hosts x GPUs per host); or cpu:8."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """field=value, as for `pretrain`; the mesh is chosen if no mesh field is set."""
    upcycle: str = ""
    """Recipe of the dense run, to plan a run of `pretrain --upcycle`."""
    price: float = 0.0
    """Price of one chip for one hour, in any currency."""
    remedies: bool = True
    """If the recipe does not fit, compile changed recipes until one fits."""
    moves: int = 0
    """Number of instructions to list, those that move the most bytes first."""
    out: Path | None = None
    """File to write the plan to as JSON."""


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes, or print one, resolved, with its parameter count and FLOPs."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """Name of a recipe; all are listed if left out."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check this machine and installation; exit status 1 if something would stop a run."""

    out: Path = field(default=Path("."))
    """Directory that runs are to be written to."""
    store: tuple[str, ...] = ()
    """Addresses on object stores to try, such as s3://bucket/corpus."""
    json: bool = False
    """Print the findings as JSON."""


@dataclass(frozen=True, kw_only=True)
class Demo(StageArguments):
    """Clean, tokenize, train two models and compare them, on text that installed packages ship."""

    out: Path = field(default=Path("runs/demo"))
    """Directory for all output of the demo."""

"""`mswitch distill`: a finished run teaches a dense recipe; the output is a run as any other."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from model.config import DistillationConfig
from pipeline.command import Stage
from pipeline.fields import (
    CacheOptions,
    FinishedRun,
    Hosts,
    In,
    Out,
    Overrides,
    RunPlace,
    Tokens,
    TrackerName,
)
from pipeline.stage import Job

if TYPE_CHECKING:
    from pipeline.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Distill(Stage):
    """Distill a finished run into a dense recipe on its tokens; the same command again resumes.

    Defaults of the Switch paper: the teacher's non-expert weights as first weights, and targets of
    0.75 labels and 0.25 teacher's probabilities.
    """

    example: ClassVar = (
        "--teacher runs/switch --recipe mt5-laptop --tokens tokens --out runs/student"
    )

    teacher: In[FinishedRun]
    """Finished or imported run; its last checkpoint, or its best, is the teacher."""
    recipe: str = ""
    """Dense recipe from `mswitch recipes`: the teacher's baseline; or --config."""
    config: Path | None = None
    """A saved recipe, as for `pretrain`; a student's own settings of distillation are kept."""
    tokens: In[Tokens]
    """Directory of the tokens that the teacher was trained on, or its address on an object
    store."""
    out: Out[RunPlace]
    """The student's run directory, with the same files as for `pretrain`."""
    overrides: Overrides = ()
    """field=value, as for `pretrain`; also distillation.hard_share, distillation.temperature, and
    distillation.initialization=random, non-experts or experts-mean."""
    track: tuple[TrackerName, ...] = ()
    """Trackers that also get recipe, metrics and held-out losses: wandb, mlflow, each an extra;
    recorded in the run's directory unless WANDB_MODE=online or MLFLOW_TRACKING_URI is set."""
    profile: tuple[int, int] | None = None
    """First and last step to trace, into RUN/profile."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, so that a resumed run has the same bits; slower. TPUs and CPUs
    always have it."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())

    def check(self) -> None:
        """Checks the recipe."""
        self._recipe()

    def _recipe(self) -> "Recipe":
        from pipeline.recipe.named import requested_recipe
        from pipeline.recipe.overrides import override

        recipe = requested_recipe(self.recipe, self.config)
        taught = replace(recipe, distillation=recipe.distillation or DistillationConfig())
        return override(taught, self.overrides)

    def jobs(self) -> Iterator[Job]:
        """Yields the student's training."""
        from pipeline.training.teacher import distilling

        yield distilling(
            self._recipe(),
            self.tokens,
            self.out,
            self.teacher,
            profile=self.profile,
            track=self.track,
            cache=self.cache,
        )

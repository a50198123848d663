"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

It may begin with another run: --start, --trunk, --upcycle. The same command again resumes from the
last whole checkpoint and computes the same numbers. It may change settings that leave the steps
already made as they were, and the change is recorded (`training/changes.py`); another recipe, other
tokens or another start are refused. Held-out pages are scored before the first step, at intervals
and at the end. SIGTERM saves and exits (`training/loop.py`); `time.json` accounts for the run's
time (`training/log/time_account.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pipeline.command import Stage
from pipeline.errors import ArtifactError
from pipeline.fields import (
    CacheOptions,
    FinishedRun,
    Hosts,
    In,
    Out,
    Overrides,
    Range,
    Run,
    RunPlace,
    Tokens,
    TrackerName,
)
from pipeline.stage import Job

if TYPE_CHECKING:
    from pipeline.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Pretrain(Stage):
    """Pretrain a recipe on token blocks; the same command again resumes.

    SIGTERM, Ctrl-C and SIGHUP save and exit with status 143 within 25 seconds; a second one quits.
    """

    example: ClassVar = "--recipe switch-laptop --tokens tokens --out runs/switch"

    recipe: str = ""
    """Name from `mswitch recipes`; or --config."""
    config: Path | None = None
    """A saved recipe: the recipe.json of a run, or a recipe alone, in JSON or YAML (*.yaml); --set
    changes it too."""
    tokens: In[Tokens]
    """Directory that `mswitch tokenize` wrote, or its address on an object store (s3://...,
    gs://...)."""
    seeds: tuple[int, ...] = ()
    """Seeds of several runs, one after the other, in OUT-SEED each."""
    out: Out[RunPlace]
    """The run's directory: recipe.json, checkpoints/, metrics.jsonl, evaluation/, tensorboard/;
    on this machine or on an object store (s3://..., gs://...)."""
    start: In[FinishedRun] | None = None
    """Finished or imported run to start from: its best or last weights replace the random first
    weights."""
    trunk: RunPlace | None = None  # not needed once the branch has begun
    """Run of this recipe to branch off, finished or not: its weights and optimizer state at
    --branch-at are continued, and the learning rate falls linearly from there to 0 at `steps`."""
    branch_at: int | None = None
    """Step of a checkpoint of --trunk; the trunk's `keep_every` preserves such checkpoints."""
    upcycle: In[Run] | None = None
    """Dense run of ours, or imported, to make a Switch of: each expert begins as a copy of its
    feed-forward. On the same examples, `steps` count those of the dense run."""
    upcycle_at: int | None = None
    """Step of a checkpoint of --upcycle; the best or the last one of a finished run if left
    out."""
    upcycle_logits: Annotated[float, Range(above=0, below=10)] = 3e-7
    """Standard deviation of the first router logits. The default keeps the dense function to 1e-5
    while nothing is dropped; 0.03 changes experts' outputs by 5 %, and routing settles sooner."""
    upcycle_noise: Annotated[float, Range(least=0, below=1)] = 0.0
    """Standard deviation of noise on each expert, relative to its matrix."""
    overrides: Overrides = ()
    """field=value, for example steps=100 or model.switch.experts=16; `mswitch recipes NAME` lists
    the settings of a recipe, and docs/commands.md their meaning."""
    mixture_from: tuple[str, ...] = ()
    """STEP=MIXTURE: other weights or languages from that step on, for example 50000=uniform or
    50000=weights:FILE; recorded in the run, so that a resume need not repeat it."""
    tokens_from: tuple[str, ...] = ()
    """STEP=TOKENS: other token blocks from that step on, for example of a corpus that has grown."""
    rate_from: tuple[str, ...] = ()
    """STEP=FIELD=VALUE,...: another rate from that step on, of the fields scale, hold_steps,
    decay_from and warm_up_steps."""
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
        """Checks the seeds, the recipe, and that one beginning is named, and named whole."""
        from pipeline.recipe.overrides import check_seeds

        check_seeds(self.seeds, self.overrides)
        self._recipe(self.overrides)
        if self.seeds and self.hosts.count > 1:
            raise ArtifactError(
                f"--seeds {' '.join(map(str, self.seeds))} was given on {self.hosts.count} hosts; "
                "give one command per seed there, with --set seed=NUMBER."
            )
        self._check_branch()
        self._check_upcycling()

    def _check_branch(self) -> None:
        trunk, at, start = self.trunk, self.branch_at, self.start
        if (trunk is None) != (at is None) or (trunk is not None and start is not None):
            options = {"trunk": trunk, "branch-at": at, "start": start}
            given = (f"--{name} {value}" for name, value in options.items() if value is not None)
            raise ArtifactError(
                f"{' '.join(given)} was given; a branch needs --trunk and --branch-at, and begins "
                "with the trunk's weights."
            )

    def _check_upcycling(self) -> None:
        asked = self.upcycle_at, self.upcycle_logits, self.upcycle_noise
        if self.upcycle is None:
            if asked != (None, Pretrain.upcycle_logits, Pretrain.upcycle_noise):
                raise ArtifactError(
                    "--upcycle-at, --upcycle-noise and --upcycle-logits need --upcycle RUN."
                )
        elif self.start is not None or self.trunk is not None:
            raise ArtifactError(
                f"--upcycle {self.upcycle} was given with --start {self.start} and --trunk "
                f"{self.trunk}; a run has one beginning: name one of them."
            )

    def _recipe(self, settings: Sequence[str]) -> "Recipe":
        from pipeline.recipe.named import requested_recipe
        from pipeline.recipe.overrides import override

        recipe = requested_recipe(self.recipe, self.config)
        return override(replace(recipe, distillation=None), settings)

    def jobs(self) -> Iterator[Job]:
        """Yields the job of each run: one, or one per seed."""
        from pipeline.runs.directory import one_per_seed
        from pipeline.training.changes import with_later_settings
        from pipeline.training.run import training
        from pipeline.training.start import Random, State, Weights, upcycled_run

        later = self.mixture_from, self.tokens_from, self.rate_from
        for out, settings in one_per_seed(self.out, self.overrides, self.seeds):
            recipe = with_later_settings(self._recipe(settings), out, *later)
            if self.upcycle is not None:
                drawn = self.upcycle_logits, self.upcycle_noise
                start = upcycled_run(self.upcycle, self.upcycle_at, *drawn, out)
            elif self.trunk is not None and self.branch_at is not None:
                start = State(self.trunk, self.branch_at)
            else:
                start = Random() if self.start is None else Weights(self.start)
            yield training(
                recipe,
                self.tokens,
                out,
                start,
                profile=self.profile,
                track=self.track,
                cache=self.cache,
            )

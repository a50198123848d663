"""The commands that train, and those that make one run of another."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.arguments.shared import CacheOptions, Hosts, RunPlace, StageArguments

TrackerName = Literal["wandb", "mlflow"]


@dataclass(frozen=True, kw_only=True)
class Pretrain(StageArguments):
    """Pretrain a recipe on token blocks; the same command again resumes.

    SIGTERM, Ctrl-C and SIGHUP save and exit with status 143 within 25 seconds; a second one quits.
    """

    recipe: str = ""
    """Name from `mswitch recipes`; or --config."""
    config: Path | None = None
    """A saved recipe: the recipe.json of a run, or a recipe alone, in JSON or YAML (*.yaml); --set
    changes it too."""
    tokens: str
    """Directory that `mswitch tokenize` wrote, or its address on an object store (s3://...,
    gs://...)."""
    seeds: tuple[int, ...] = ()
    """Seeds of several runs, one after the other, in OUT-SEED each."""
    out: RunPlace
    """The run's directory: recipe.json, checkpoints/, metrics.jsonl, evaluation/, tensorboard/;
    on this machine or on an object store (s3://..., gs://...)."""
    start: RunPlace | None = None
    """Finished or imported run to start from: its best or last weights replace the random first
    weights."""
    trunk: RunPlace | None = None
    """Run of this recipe to branch off, finished or not: its weights and optimizer state at
    --branch-at are continued, and the learning rate falls linearly from there to 0 at `steps`."""
    branch_at: int | None = None
    """Step of a checkpoint of --trunk; the trunk's `keep_every` preserves such checkpoints."""
    upcycle: RunPlace | None = None
    """Dense run of ours, or imported, to make a Switch of: each expert begins as a copy of its
    feed-forward. On the same examples, `steps` count those of the dense run."""
    upcycle_at: int | None = None
    """Step of a checkpoint of --upcycle; the best or the last one of a finished run if left
    out."""
    upcycle_logits: float = 3e-7
    """Standard deviation of the first router logits. The default keeps the dense function to 1e-5
    while nothing is dropped; 0.03 changes experts' outputs by 5 %, and routing settles sooner."""
    upcycle_noise: float = 0.0
    """Standard deviation of noise on each expert, relative to its matrix."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """field=value, for example steps=100 or model.switch.capacity=16."""
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


@dataclass(frozen=True, kw_only=True)
class Finetune(StageArguments):
    """Fine-tune a finished run on text-to-text tasks; the same command again resumes.

    Defaults of mT5 and Switch: a constant rate of 0.001, dropout 0.1 and 0.4 in experts, 1,000
    steps with an evaluation every 200. The checkpoint with the best score on development data is
    kept, and scored on test data at the end.
    """

    run: RunPlace
    """Finished or imported run; its last checkpoint, or its best, is fine-tuned."""
    task: tuple[str, ...]
    """Tasks: descriptions (FILE.yaml, FILE.json; docs/tasks.md), or shipped ones with the directory
    of their data (sib200=DIR)."""
    out: RunPlace
    """The fine-tuned run's directory: the files of `pretrain`, tasks/ and best.json."""
    languages: tuple[str, ...] = ()
    """Languages of the training examples; all if left out. One alone is the zero-shot mode."""
    each_language: bool = False
    """One run per language, on its examples alone, in OUT-LANGUAGE each."""
    tokens: str = ""
    """Tokens of the pretraining to mix in, with --pretraining-share."""
    pretraining_share: float = 0.0
    """Share of rows taken from pretraining, which prevents answers in the wrong language (mT5:
    0.01)."""
    corpus: str | None = None
    """Directory that `mswitch clean` wrote: examples that share 13 words in a row with its pages
    are marked, so that scores can be read without them."""
    teacher: RunPlace | None = None
    """Fine-tuned run on the same tasks to distill, into a dense --run."""
    seeds: tuple[int, ...] = ()
    """Seeds of several runs, one after the other, in OUT-SEED each."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """field=value, as for `pretrain`; also finetuning.dropout, finetuning.targets."""
    track: tuple[TrackerName, ...] = ()
    """Trackers that also get recipe, metrics and scores, as for `pretrain`."""
    profile: tuple[int, int] | None = None
    """First and last step to trace, into RUN/profile."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, so that a resumed run has the same bits; slower. TPUs and CPUs
    always have it."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Distill(StageArguments):
    """Distill a finished run into a dense recipe on its tokens; the same command again resumes.

    Defaults of the Switch paper: the teacher's non-expert weights as first weights, and targets of
    0.75 labels and 0.25 teacher's probabilities.
    """

    teacher: RunPlace
    """Finished or imported run; its last checkpoint, or its best, is the teacher."""
    recipe: str = ""
    """Dense recipe from `mswitch recipes`: the teacher's baseline; or --config."""
    config: Path | None = None
    """A saved recipe, as for `pretrain`; a student's own settings of distillation are kept."""
    tokens: str
    """Directory of the tokens that the teacher was trained on, or its address on an object
    store."""
    out: RunPlace
    """The student's run directory, with the same files as for `pretrain`."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
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


@dataclass(frozen=True, kw_only=True)
class Prune(StageArguments):
    """Keep the experts of a run that some languages use; the result is a run with fewer experts.

    An expert's importance is the sum of its gates per token, as the run's evaluation recorded it:
    how often the languages use it, times how much of its output counts.
    """

    run: RunPlace
    """Finished or imported run with experts, evaluated on held-out pages of the languages."""
    languages: tuple[str, ...]
    """Languages that the run is to serve (mC4 codes, aliases or English names, with spaces or
    commas between); each weighs the same."""
    keep: float
    """Share of each layer's experts to keep, above 0 and at most 1, rounded up to whole experts."""
    out: RunPlace
    """The pruned run's directory: recipe.json, one checkpoint without training, manifest.json."""
    merge: bool = False
    """Merge dropped experts into the kept ones, weighted by load (MC-SMoE)."""
    tokens: str = ""
    """Directory that `mswitch tokenize` wrote, or its address on an object store: the last matrix
    of each kept expert is fitted, by least squares, to what all experts computed on training text
    of the languages. Without it no text is read."""
    step: int | None = None
    """Step of the checkpoint to prune; the best or the last one if left out."""
    cache: CacheOptions = field(default=CacheOptions())

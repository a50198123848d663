"""The arguments of each command: one frozen dataclass per command, its docstrings the help text.

Beside the standard library only tyro and addresses are imported here, so that `mswitch --help`
takes a fraction of a second. Everything after a lone `--` is passed to Beam unchanged.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from pipeline.fields import CacheOptions, Hosts, RunPlace, TrackerName

# What other tools call settings of a recipe, and how they are written after --set here.
SYNONYMS = {
    "batch_size": "rows=N, the rows of a batch",
    "epochs": "steps=N: the length of a run is a number of steps",
    "learning_rate": "optimizer.scale=X, which multiplies the learning rate",
    "lr": "optimizer.scale=X, which multiplies the learning rate",
    "max_steps": "steps=N",
    "num_train_epochs": "steps=N: the length of a run is a number of steps",
    "per_device_train_batch_size": "rows=N, the rows of a batch over all devices",
    "seed": "seed=N",
    "seq_len": "inputs=N, the input tokens of a row",
    "steps": "steps=N",
    "warmup_steps": "optimizer.warm_up_steps=N, the steps over which the rate rises",
}


@dataclass(frozen=True, kw_only=True)
class StageArguments:
    """A command that reads or writes."""

    dry_run: bool = False
    """Print what would be read and written, and refuse what the command would refuse; write
    nothing."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(StageArguments):
    """Pretrain a recipe on token blocks; the same command again resumes.

    SIGTERM, Ctrl-C and SIGHUP save and exit with status 143 within 25 seconds; a second one quits.
    """

    example: ClassVar = "--recipe switch-laptop --tokens tokens --out runs/switch"

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


@dataclass(frozen=True, kw_only=True)
class Finetune(StageArguments):
    """Fine-tune a finished run on text-to-text tasks; the same command again resumes.

    Defaults of mT5 and Switch: a constant rate of 0.001, dropout 0.1 and 0.4 in experts, 1,000
    steps with an evaluation every 200. The checkpoint with the best score on development data is
    kept, and scored on test data at the end.
    """

    example: ClassVar = "--run runs/switch --task topics.yaml --out runs/topics"

    run: RunPlace
    """Finished or imported run; its last checkpoint, or its best, is fine-tuned."""
    task: tuple[str, ...]
    """Tasks: descriptions (FILE.yaml, FILE.json; docs/tasks.md), or shipped ones with the directory
    of their data (sib200=DIR)."""
    out: RunPlace
    """The fine-tuned run's directory: the files of `pretrain`, tasks/ and best.json."""
    languages: tuple[str, ...] = ()
    """Languages of the training examples; all if left out. Several are also those of the scores;
    one alone is the zero-shot mode, in which all are scored."""
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

    example: ClassVar = (
        "--teacher runs/switch --recipe mt5-laptop --tokens tokens --out runs/student"
    )

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
    """Keep what some languages use of a run: its experts, its vocabulary; the result is a run.

    An expert's importance is the sum of its gates per token, as the run's evaluation recorded it:
    how often the languages use it, times how much of its output counts.
    """

    example: ClassVar = "--run runs/switch --languages sw yo --keep 0.25 --out runs/small"

    run: RunPlace
    """Finished or imported run; for --keep with experts, and evaluated on held-out pages of the
    languages."""
    languages: tuple[str, ...]
    """Languages that the run is to serve (mC4 codes, aliases or English names, with spaces or
    commas between); each weighs the same."""
    out: RunPlace
    """The pruned run's directory: recipe.json, one checkpoint without training, manifest.json."""
    keep: float | None = None
    """Share of each layer's experts to keep, above 0 and at most 1, rounded up to whole experts;
    all stay if left out."""
    trim: int | None = None
    """Trim the vocabulary: number of times that a piece of text has to occur in the training tokens
    of the languages (--tokens) to stay; 0 for all pieces in characters that occur. Text whose
    pieces stay is cut as before."""
    merge: bool = False
    """Merge dropped experts into the kept ones, weighted by load (MC-SMoE)."""
    tokens: str = ""
    """Directory that `mswitch tokenize` wrote, or its address on an object store. With --trim its
    pieces are counted. With --keep the last matrix of each kept expert is fitted, by least squares,
    to what all experts computed on training text of the languages. Without it no text is read."""
    step: int | None = None
    """Step of the checkpoint to prune; the best or the last one if left out."""
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Evaluate(StageArguments):
    """Score a run's checkpoint: held-out pages, tasks, or the sentences of a parallel text."""

    example: ClassVar = "--run runs/switch --tokens tokens"

    run: RunPlace
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    tokens: str = ""
    """Directory that `mswitch tokenize` wrote, or its address on an object store: its held-out
    pages are scored, sums and counts, one row per page."""
    task: tuple[str, ...] = ()
    """Tasks whose test data are predicted, as for `finetune`."""
    beams: int = 1
    """Number of beams of the search for answers, with T5's length penalty; 1 is greedy."""
    corpus: str | None = None
    """Corpus of the pretraining, to mark test examples that share text with it."""
    sentences: tuple[str, ...] = ()
    """Tasks whose test texts are scored as sentences: nats per sentence, each token hidden once."""
    step: int | None = None
    """Step of the checkpoint to score; the best or the last one if left out."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, so that a repetition has the same bits; slower. TPUs and CPUs
    always have it."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Time(StageArguments):
    """Measure the step times of two finished runs side by side: in one process, in turns.

    Both networks, with their optimizer states, have to fit on the devices of this machine together.
    The runs are only read.
    """

    example: ClassVar = "--baseline runs/mt5 --candidate runs/switch --tokens tokens --out times"

    baseline: RunPlace
    """Run of the dense baseline that `mswitch pretrain` finished."""
    candidate: RunPlace
    """Run of the candidate, with the same rows per batch and the same lengths. Naming the baseline
    here as well shows how far the ratio strays from 1 by chance."""
    tokens: str
    """Directory of the tokens that both were trained on, or its address on an object store."""
    out: RunPlace
    """Directory for step_times.json."""
    steps: int = 4
    """Number of steps per round and run. There are 20 rounds, and one before that is not counted;
    a round should take a second or more."""
    deterministic: bool = False
    """Fixed order of sums on GPUs, if the runs were trained with it. TPUs and CPUs always have
    it."""
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Fill(StageArguments):
    """Fill the gaps of a text with a run's model, or answer a text."""

    example: ClassVar = "--run runs/switch 'Paris is the <extra_id_0> of France.'"

    text: Annotated[str, tyro.conf.Positional]
    """Text with the gaps <extra_id_0>, <extra_id_1>, ...; for a fine-tuned, imported or
    pruned run also one without a gap, in the words of its task, which is answered."""
    run: RunPlace
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    tokens: int = 32
    """Largest number of tokens to generate."""
    temperature: float = 0.0
    """0 takes the most likely token; above 0 tokens are sampled, at 1 from the model's
    distribution."""
    top_k: int = 0
    """Number of most likely tokens to sample from; 0 means all."""
    top_p: float = 1.0
    """Sample from the fewest most likely tokens whose probabilities sum to at least this."""
    seed: int = 0
    """Seed of sampling."""
    hosts: Hosts = field(default_factory=Hosts)


@dataclass(frozen=True, kw_only=True)
class ImportHf(StageArguments):
    """Import a Transformers T5, mT5 or Switch model and its vocabulary as a run."""

    example: ClassVar = "mt5-small --out runs/mt5-small"

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory with config.json, *.safetensors and spiece.model."""
    out: RunPlace
    """The run's directory; its only checkpoint is step 0."""
    inputs: int = 512
    """Input tokens per row, in evaluation and in further training."""
    rows: int = 32
    """Rows per batch."""


@dataclass(frozen=True, kw_only=True)
class ExportHf(StageArguments):
    """Export a run's network and vocabulary as files that Transformers loads."""

    example: ClassVar = "--run runs/switch --out exported"

    run: RunPlace
    """Directory that `mswitch pretrain`, `finetune`, `distill`, `prune` or `import-hf` wrote."""
    out: RunPlace
    """Directory for config.json, model.safetensors (from 5 GB on several files), spiece.model and
    tokenizer.json."""
    step: int | None = None
    """Step of the checkpoint to export; the best or the last one if left out."""
    license: str | None = None
    """Licence that the model card declares, by the hub's name (apache-2.0, ...)."""
    hosts: Hosts = field(default_factory=Hosts)

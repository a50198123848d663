"""The arguments of each command: one frozen dataclass per command, its docstrings the help text.

Beside the standard library only tyro and addresses are imported here, so that `mswitch --help`
takes a fraction of a second. Everything after a lone `--` is passed to Beam unchanged.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from pipeline.fields import CacheOptions, Hosts, Rules, RunPlace, TrackerName

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


PersonalData = Literal["email", "ip", "phone", "national_number"]


@dataclass(frozen=True, kw_only=True)
class Clean(StageArguments):
    """Filter, identify and deduplicate web pages; kept and rejected pages as Parquet.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--input 'texts/*.jsonl' --rules none --out corpus"

    input: tuple[str, ...]
    """Files or globs: *.wet (text), *.warc (HTML), *.json or *.jsonl, each also with .gz; or
    *.parquet; or *.paths.gz: a crawl's list of files, which are downloaded."""
    rules: Rules | None = None
    """mc4 (3.1.0, CLD3 at 0.95), mc4-3.0.1 (0.70), c4-en (English, langdetect at 0.99), mswitch-web
    (rules for every script, near-duplicates), demo (short texts of the demo), or none (for
    published corpora, which stay unchanged). Needed without --onto, which takes those of the
    corpus."""
    out: str
    """Directory for pages/, rejected/, broken/ and manifest.json; local or on an object store."""
    growable: bool = False
    """Whether what a later --onto needs is kept in the corpus, in growth/."""
    onto: str | None = None
    """Corpus made with --growable, to which the input is added; it stays as it is, and the new one
    has the pages of cleaning both inputs at once, and the difference in delta/."""
    languages: tuple[str, ...] | None = None
    """Languages to clean (mC4 codes, aliases or English names, with spaces or commas between); all
    107 if left out. Pages of other languages are counted and dropped as soon as their language is
    known; published files of other languages are not read."""
    bad_words: Path | None = None
    """Directory of bad-word lists, one file per language named by its code (LDNOOBW's layout), with
    words in lower case."""
    language_identifier: str | None = None
    """fastText model (.bin or .ftz), local or on an object store, to use instead of CLD3, or beside
    CLD2 and CLD3 with the rules mswitch-web; needs the extra `fasttext`."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of a *.paths.gz list are relative to."""
    crawl_cache: Path | None = None
    """Directory to keep downloaded files in for later runs, by server; not kept if left out."""
    validation_share: float | None = None
    """Share of each language's pages to hold out; the rules' own if left out, or 0.001."""
    validation_minimum: int | None = None
    """Least number of pages of each language to hold out, but never more than half of them; the
    rules' own if left out, or 0."""
    license: str | None = None
    """Licence that the dataset card declares, by the hub's name (odc-by, cc0-1.0, ...)."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Select(StageArguments):
    """Write a corpus of the pages that late rules keep: by scores, lists and robots.txt.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--corpus corpus --scores scores --out selected"

    corpus: str
    """Directory that `mswitch clean` wrote, local or on an object store."""
    scores: str
    """Directory that `mswitch score` wrote for this corpus."""
    out: str
    """Directory for the new corpus: pages/, rejected/ and manifest.json."""
    quality: str = "corpus"
    """corpus (thresholds from the scores of each language), none, or a directory of FineWeb2's YAML
    files, one per language."""
    languages: bool = True
    """Remove pages that the combined identification calls noise or another language."""
    least_language_share: float = 0.5
    """Least share of a page's characters that must be in its language."""
    benchmarks: bool = True
    """Remove pages that share an n-gram of 13 words with a benchmark."""
    blocked: tuple[str, ...] = ()
    """Files of blocked domains and addresses, one per line, plain or .gz."""
    opted_out: tuple[str, ...] = ()
    """Files of domains and addresses whose owners opted out, one per line, plain or .gz."""
    robots: tuple[str, ...] = ()
    """Files or globs with robots.txt: *.warc.gz of a crawl, or *.jsonl with "host" and "robots"."""
    robot: str = "CCBot"
    """Name of the robot that robots.txt is read for."""
    mask: tuple[PersonalData, ...] = ()
    """Kinds of personal data to mask in the pages that stay."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Withdraw(StageArguments):
    """Remove domains or pages from a corpus; only the files that hold them are written again.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--corpus corpus --sites sites.txt --reason 'asked by their owners'"

    corpus: str
    """Directory that `mswitch clean` or `mswitch select` wrote, local or on an object store."""
    sites: tuple[str, ...]
    """Files of domains and addresses to remove, one per line, plain or .gz."""
    reason: str
    """Reason, which the manifest keeps."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimate pages, core-hours and cost of a `clean` run from a sample of its input."""

    example: ClassVar = "--input 'crawl/*.warc.wet.gz' --rules mc4"

    input: tuple[str, ...]
    """Files or globs, local or on an object store, as for `clean`."""
    rules: Rules
    """Rules of the planned run."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of a *.paths.gz list are relative to."""
    sample_megabytes: int = 32
    """Least size of the sample, in files spread over the input."""
    price_per_core_hour: float = 0.0
    """Price of one core for one hour, in any currency."""


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

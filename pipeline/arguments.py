"""What each command takes: one frozen dataclass a command, whose docstrings are the help text.

Beside the standard library only tyro is imported here, so that `mswitch --help` answers in a
fraction of a second. Everything after a lone `--` is handed to Beam as it stands.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

Rules = Literal["mc4", "mc4-3.0.1", "c4-en", "mswitch-web", "demo", "none"]


@dataclass(frozen=True, kw_only=True)
class Clean:
    """Clean web pages: mC4's rules, language, duplicates; kept and rejected pages as Parquet."""

    input: tuple[str, ...]
    """Files or globs: *.warc.wet.gz (text), *.warc.gz (HTML), *.json.gz, *.jsonl.gz, *.parquet, or
    *.paths.gz: a crawl's list of files, which are fetched."""
    rules: Rules
    """mc4 (3.1.0, CLD3 at 0.95), mc4-3.0.1 (0.70), c4-en (English, langdetect at 0.99), mswitch-web
    (rules for every script, near-duplicates), demo (short shipped texts), or none (published
    corpora pass through unchanged)."""
    out: str
    """Directory for pages/, rejected/, broken/ and manifest.json; here or on an object store."""
    languages: tuple[str, ...] | None = None
    """Clean only these languages (mC4 codes or aliases); all 107 if left out. Pages of others are
    counted and go as soon as their language is known, published files of others unread."""
    bad_words: Path | None = None
    """Directory of bad-word lists, one file a language named by its code (LDNOOBW's layout)."""
    language_identifier: Path | None = None
    """A fastText model (.bin or .ftz) to ask instead of CLD3; needs the extra `fasttext`."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of such a list are relative to."""
    crawl_cache: Path | None = None
    """Keep fetched files in this directory, for later runs; they are not kept if left out."""
    validation_share: float | None = None
    """Hold out this part of each language's pages; the rules say how many if left out."""
    validation_minimum: int | None = None
    """Hold out at least so many pages of each language, but never more than half of them."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Say before a launch what `clean` will take: pages, core-hours, money; from a sample."""

    input: tuple[str, ...]
    """Files or globs, here or on an object store, as for `clean`."""
    rules: Rules
    """The rules of the run to come."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of a crawl's list are relative to."""
    sample_megabytes: int = 32
    """At least so much of the input is cleaned here, in files spread over it."""
    price_per_core_hour: float = 0.0
    """What one core costs for an hour, in any currency."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Train a SentencePiece vocabulary on text sampled as the mixture will sample it, or take one.

    Either --corpus and --size, or --model.
    """

    out: Path
    """Directory for sentencepiece.model and manifest.json."""
    corpus: tuple[str, ...] = ()
    """Directories that `mswitch clean` wrote, here or on an object store."""
    size: int = 0
    """Ids in all: pieces, bytes, control symbols and the 100 sentinels."""
    model: Path | None = None
    """An existing SentencePiece model in T5's layout, such as mT5's, instead of training; sentinels
    are appended if it has none."""
    mixture: str = "temperature:0.3"
    """temperature:ALPHA over pages (mT5: 0.3), proportional, uniform, unimax:EPOCHS:CHARACTERS
    (umT5: unimax:1:4657152000000; CHARACTERS is what the run will read: steps x rows x raw window
    x 4), or weights:FILE (JSON {"sw": 0.5, ...} or a language, a tab and a weight a line)."""
    character_coverage: float = 0.99999
    """Share of characters with a piece of their own; the rest falls back to bytes."""
    sample_characters: int = 50_000_000
    """At most this many characters are trained on."""


@dataclass(frozen=True, kw_only=True)
class Tokenize:
    """Turn clean pages into token blocks (ArrayRecord) with tensorflow-text's SentencePiece op."""

    corpus: tuple[str, ...]
    """Directories that `mswitch clean` wrote, here or on an object store."""
    vocabulary: str
    """Directory that `mswitch vocabulary` wrote, here or on an object store."""
    out: str
    """Directory for one folder of blocks a language and manifest.json, here or on a store."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """A run over several hosts: the same command on each."""

    count: int = 1
    """Processes in all, one a host."""
    index: int | None = None
    """Which one this is, from 0; a TPU pod or Slurm says it."""
    coordinator: str | None = None
    """HOST:PORT of the first one; a TPU pod or Slurm says it."""


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Where blocks from an object store are kept on this host; its processes share it."""

    directory: Path = Path("~/.cache/mswitch")
    """Directory of this host's own."""
    gigabytes: float = 100.0
    """Blocks there take this much room at most; those used longest ago make way."""

    @property
    def limit_bytes(self) -> int:
        """The room in bytes."""
        return round(self.gigabytes * 1e9)


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Pretrain a recipe on token blocks; the same command again resumes.

    SIGTERM saves and exits with status 143 within 25 seconds; the same command goes on.
    """

    recipe: str
    """A name from `mswitch recipes`."""
    tokens: str
    """Directory that `mswitch tokenize` wrote, or the address of a copy of it on an object store
    (s3://..., gs://...)."""
    out: Path
    """The run's directory: recipe.json, checkpoints/, metrics.jsonl, evaluation/, tensorboard/."""
    start: Path | None = None
    """A finished or imported run whose last weights to begin with, instead of random ones."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """field=value, for example steps=100 or model.switch.experts=16."""
    profile: tuple[int, int] | None = None
    """Trace these steps, first and last, into RUN/profile."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Let a finished run teach a dense recipe on its tokens; the same command again resumes.

    By default as in the Switch paper: the teacher's non-expert weights to begin with, and targets
    of 0.75 labels and 0.25 teacher's probabilities.
    """

    teacher: Path
    """A finished or imported run; its last checkpoint teaches."""
    recipe: str
    """A dense recipe from `mswitch recipes`: the teacher's baseline."""
    tokens: str
    """Directory of the tokens that the teacher was trained on, or its address on a store."""
    out: Path
    """The student's run directory, as `pretrain` writes it."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """field=value, as for `pretrain`; also distillation.hard_share, distillation.temperature, and
    distillation.initialization=random, non-experts or experts-mean."""
    profile: tuple[int, int] | None = None
    """Trace these steps, first and last, into RUN/profile."""
    hosts: Hosts = field(default_factory=Hosts)
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score held-out pages with a run's checkpoint: sums and counts, a row a page."""

    run: Path
    """Directory that `mswitch pretrain` wrote."""
    tokens: str
    """Directory that `mswitch tokenize` wrote, or its address on an object store."""
    step: int | None = None
    """Checkpoint to score; the last one if left out."""
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Report:
    """Compare runs language by language: report.json, report.md, index.html."""

    baseline: tuple[Path, ...]
    """Runs of the dense baseline, one a seed."""
    candidate: tuple[Path, ...]
    """Runs of the candidate, one a seed."""
    out: Path
    """Directory for the report."""
    student: tuple[Path, ...] = ()
    """Dense runs that the candidate taught: how much of its gain they keep. Runs of one recipe
    name are seeds of one student."""
    corpus: str | None = None
    """Directory that `mswitch clean` wrote, here or on an object store, for the funnel, and to look
    for lines that held-out pages share with training pages."""
    tokens: str | None = None
    """Directory that `mswitch tokenize` wrote, here or on a store, for training tokens and
    fertility."""
    allow_differences: bool = False
    """Compare runs that differ beyond the feed-forward; the report lists in what. Runs of different
    vocabularies, such as an imported mT5, are compared in bits per byte."""


@dataclass(frozen=True, kw_only=True)
class Fill:
    """Let a run fill the gaps of a text."""

    text: Annotated[str, tyro.conf.Positional]
    """Text with <extra_id_0>, <extra_id_1>, ... where something is missing."""
    run: Path
    """Directory that `mswitch pretrain` or `mswitch import-hf` wrote."""
    tokens: int = 32
    """At most this many tokens are written."""
    temperature: float = 0.0
    """0 takes the most likely token; above it tokens are sampled, at 1 as the model has them."""
    top_k: int = 0
    """Sample among this many most likely tokens; 0 means all."""
    top_p: float = 1.0
    """Sample among the fewest most likely tokens that together are as likely as this."""
    seed: int = 0
    """Of sampling."""


@dataclass(frozen=True, kw_only=True)
class ImportHf:
    """Make a run of a Transformers T5, mT5 or Switch model, with its vocabulary."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Directory with config.json, *.safetensors and spiece.model."""
    out: Path
    """The run's directory; its only checkpoint is step 0."""
    inputs: int = 512
    """Input tokens of a row, in evaluation and in further training."""
    rows: int = 32
    """Rows of a batch."""


@dataclass(frozen=True, kw_only=True)
class ExportHf:
    """Write a run's network and vocabulary as Transformers loads them."""

    run: Path
    """Directory that `mswitch pretrain` or `mswitch import-hf` wrote."""
    out: Path
    """Directory for config.json, model.safetensors, spiece.model and tokenizer.json."""
    step: int | None = None
    """Checkpoint to write; the last one if left out."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Say what a recipe needs and costs on devices that nobody has rented yet: compile its step.

    Needs the extra `plan` (libtpu) for TPUs, `plan-gpu` (JAX's CUDA plugin) for GPUs.
    """

    recipe: str
    """A name from `mswitch recipes`."""
    topology: str
    """A slice, such as v5p:4x8x8, v5e:16x16, v6e:16x16, v4:4x4x4 or tpu7x:4x4x4; GPUs, such as
    h100:8 or h100:4x8 (hosts x GPUs a host); or cpu:8."""
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """field=value, as for `pretrain`; the mesh is chosen if no mesh field is set."""
    price: float = 0.0
    """What one chip costs for an hour, in any currency."""
    remedies: bool = True
    """Where it does not fit, compile changes until one does."""
    out: Path | None = None
    """File to write the plan to as JSON."""


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """List the recipes, or print one resolved with its parameter count and FLOPs."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """A recipe's name; all are listed if left out."""


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Verify any artifact (checksums included) and print what it holds."""

    directory: Annotated[str, tyro.conf.Positional]
    """A directory that a stage wrote; a corpus or token blocks also by their address on a store."""
    cache: CacheOptions = field(default=CacheOptions())


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The whole way on text that installed packages ship: archives to report."""

    out: Path = field(default=Path("runs/demo"))
    """Directory for everything the demo makes."""

"""The arguments of each command: one frozen dataclass per command, its docstrings the help text.

Beside the standard library only tyro and addresses are imported here, so that `mswitch --help`
takes a fraction of a second. Everything after a lone `--` is passed to Beam unchanged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from pipeline.fields import Rules

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

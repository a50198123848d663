"""The commands from web pages to tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipeline.arguments.shared import StageArguments

PersonalData = Literal["email", "ip", "phone", "national_number"]

Rules = Literal["mc4", "mc4-3.0.1", "c4-en", "mswitch-web", "demo", "none"]


@dataclass(frozen=True, kw_only=True)
class Clean(StageArguments):
    """Filter, identify and deduplicate web pages; kept and rejected pages as Parquet.

    Options after a lone -- go to Beam.
    """

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
    """Directory of bad-word lists, one file per language named by its code (LDNOOBW's layout)."""
    language_identifier: str | None = None
    """fastText model (.bin or .ftz), local or on an object store, to use instead of CLD3, or beside
    CLD2 and CLD3 with the rules mswitch-web; needs the extra `fasttext`."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of a *.paths.gz list are relative to."""
    crawl_cache: Path | None = None
    """Directory to keep downloaded files in for later runs, by server; not kept if left out."""
    validation_share: float | None = None
    """Share of each language's pages to hold out; the default of the rules if left out."""
    validation_minimum: int | None = None
    """Least number of pages of each language to hold out, but never more than half of them."""
    license: str | None = None
    """Licence that the dataset card declares, by the hub's name (odc-by, cc0-1.0, ...)."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Score(StageArguments):
    """Score a corpus's pages: language, quality, personal data, text of benchmarks.

    Options after a lone -- go to Beam.
    """

    corpus: str
    """Directory that `mswitch clean` wrote, local or on an object store."""
    out: str
    """Directory for manifest.json and pages/: a table beside each file of the corpus, a row per
    page; local or on an object store."""
    benchmarks: tuple[str, ...] = ()
    """Files of benchmarks (JSON Lines, Parquet, TSV or plain text); pages that share 13
    words with one are marked."""
    language_identifier: str | None = None
    """fastText model (.bin or .ftz) to ask beside CLD3 and CLD2, local or on an object store; needs
    the extra `fasttext`."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


@dataclass(frozen=True, kw_only=True)
class Select(StageArguments):
    """Write a corpus of the pages that late rules keep: by scores, lists and robots.txt.

    Options after a lone -- go to Beam.
    """

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
class Vocabulary(StageArguments):
    """Train a SentencePiece vocabulary on text sampled by the mixture, or adopt an existing one.

    Either --corpus and --size, or --model.
    """

    out: Path
    """Directory for sentencepiece.model and manifest.json."""
    corpus: tuple[str, ...] = ()
    """Directories that `mswitch clean` or `mswitch select` wrote, local or on an object store."""
    size: int = 0
    """Total number of ids: pieces, bytes, control symbols and the 100 sentinels."""
    model: Path | None = None
    """Existing SentencePiece model in T5's layout, such as mT5's, instead of training; sentinels
    are appended if it has none, and those that are ordinary pieces become control pieces."""
    mixture: str = "temperature:0.3"
    """temperature:ALPHA over pages (mT5: 0.3), proportional, uniform, unimax:EPOCHS:CHARACTERS
    (umT5: unimax:1:4657152000000; CHARACTERS is the text of the run: steps x rows x raw window
    x 4), or weights:FILE (JSON {"sw": 0.5, ...}, or one language, tab and weight per line)."""
    character_coverage: float = 0.99999
    """Share of characters that get a piece of their own; the rest falls back to bytes."""
    sample_characters: int = 50_000_000
    """Largest number of characters to train on."""


@dataclass(frozen=True, kw_only=True)
class Tokenize(StageArguments):
    """Tokenize clean pages into token blocks (ArrayRecord) with tensorflow-text's SentencePiece.

    Options after a lone -- go to Beam.
    """

    corpus: tuple[str, ...]
    """Directories that `mswitch clean` or `mswitch select` wrote, local or on an object store."""
    vocabulary: str
    """Directory that `mswitch vocabulary` wrote, local or on an object store."""
    out: str
    """Directory for manifest.json and one folder of blocks per language; local or on an object
    store."""
    onto: str | None = None
    """Tokens of the corpus that this one was added to (clean --onto): their blocks stay as they
    are, pages that left are skipped by a list, and only new pages are tokenized."""
    beam: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()

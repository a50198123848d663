"""`mswitch clean`: archives in, pages per language out, and every rejection with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from data.errors import DataError
from pipeline.command import Stage
from pipeline.fields import (
    BeamOptions,
    ByWorkers,
    Corpus,
    In,
    Languages,
    License,
    Out,
    Rules,
    Texts,
)
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Clean(Stage):
    """Filter, identify and deduplicate web pages; kept and rejected pages as Parquet.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--input 'texts/*.jsonl' --rules none --out corpus"

    input: Texts
    """Files or globs: *.wet (text), *.warc (HTML), *.json or *.jsonl, each also with .gz; or
    *.parquet; or *.paths.gz: a crawl's list of files, which are downloaded."""
    rules: Rules | None = None
    """mc4 (3.1.0, CLD3 at 0.95), mc4-3.0.1 (0.70), c4-en (English, langdetect at 0.99), mswitch-web
    (rules for every script, near-duplicates), demo (short texts of the demo), or none (for
    published corpora, which stay unchanged). Needed without --onto, which takes those of the
    corpus."""
    out: Out[str]
    """Directory for pages/, rejected/, broken/ and manifest.json; local or on an object store."""
    growable: bool = False
    """Whether what a later --onto needs is kept in the corpus, in growth/."""
    onto: In[Corpus] | None = None
    """Corpus made with --growable, to which the input is added; it stays as it is, and the new one
    has the pages of cleaning both inputs at once, and the difference in delta/."""
    languages: Languages | None = None
    """Languages to clean (mC4 codes, aliases or English names, with spaces or commas between); all
    107 if left out. Pages of other languages are counted and dropped as soon as their language is
    known; published files of other languages are not read."""
    bad_words: Path | None = None
    """Directory of bad-word lists, one file per language named by its code (LDNOOBW's layout), with
    words in lower case."""
    language_identifier: Annotated[str, ByWorkers()] | None = None
    """fastText model (.bin or .ftz), local or on an object store, to use instead of CLD3, or beside
    CLD2 and CLD3 with the rules mswitch-web; needs the extra `fasttext`."""
    crawl_base: str = "https://data.commoncrawl.org"
    """Address that the paths of a *.paths.gz list are relative to."""
    crawl_cache: Annotated[Path, ByWorkers()] | None = None
    """Directory to keep downloaded files in for later runs, by server; not kept if left out."""
    validation_share: float | None = None
    """Share of each language's pages to hold out; the rules' own if left out, or 0.001."""
    validation_minimum: int | None = None
    """Least number of pages of each language to hold out, but never more than half of them; the
    rules' own if left out, or 0."""
    license: License | None = None
    """Licence that the dataset card declares, by the hub's name (odc-by, cc0-1.0, ...)."""
    beam: BeamOptions = ()

    def check(self) -> None:
        """Checks that rules or a corpus are named, and what is held out."""
        from data.rules.held_out import share_of_each_language

        if self.rules is None and self.onto is None:
            raise DataError(
                "clean was given neither --rules nor --onto; name the rules of a new corpus, or "
                "the corpus to add to."
            )
        share_of_each_language(self.validation_share or 0.0, self.validation_minimum or 0)

    def jobs(self) -> Iterator[Job]:
        """Yields the job on the input."""
        from pipeline.corpus.clean import cleaning

        yield cleaning(
            self.input,
            self.out,
            rules=self.rules,
            onto=self.onto,
            growable=self.growable,
            languages=self.languages,
            bad_words=self.bad_words,
            language_identifier=self.language_identifier,
            crawl_base=self.crawl_base,
            crawl_cache=self.crawl_cache,
            validation_share=self.validation_share,
            validation_minimum=self.validation_minimum,
            license_name=self.license,
            beam=self.beam,
        )

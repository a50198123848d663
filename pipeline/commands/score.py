"""`mswitch score`: tables beside a corpus, a row per page, on which late decisions rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pipeline.command import Stage
from pipeline.fields import BeamOptions, ByWorkers, Corpus, Files, In, Out
from pipeline.stage import Job


@dataclass(frozen=True, kw_only=True)
class Score(Stage):
    """Score a corpus's pages: language, quality, personal data, text of benchmarks.

    Options after a lone -- go to Beam.
    """

    example: ClassVar = "--corpus corpus --out scores"

    corpus: In[Corpus]
    """Directory that `mswitch clean` wrote, local or on an object store."""
    out: Out[str]
    """Directory for manifest.json and pages/: a table beside each file of the corpus, a row per
    page; local or on an object store."""
    benchmarks: Files = ()
    """Files of benchmarks (JSON Lines, Parquet, TSV or plain text) or globs; pages that share 13
    words with one are marked."""
    language_identifier: Annotated[str, ByWorkers()] | None = None
    """fastText model (.bin or .ftz) to ask beside CLD3 and CLD2, local or on an object store; needs
    the extra `fasttext`."""
    beam: BeamOptions = ()

    def jobs(self) -> Iterator[Job]:
        """Yields the job on all files of the corpus."""
        from pipeline.curation.score import scoring

        yield scoring(self.corpus, self.out, self.benchmarks, self.language_identifier, self.beam)

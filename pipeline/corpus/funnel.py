"""The funnel of a finished corpus: its manifest's counts, with samples of what each rule rejected.

Samples of a reason come from several languages and as many scripts as possible, because the effect
of a rule on Chinese does not show in English. Languages with the most rejected pages come first.
Every reason in the manifest gets samples, however rare. Memory holds the rejected pages of one file
at most, and text is read only from files with a reason that still lacks samples.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from data.corpus_manifest import LanguagePages
from data.files.parquet_files import read_pages, read_table
from data.files.paths import join_path, names_in
from data.languages import find
from data.reading.page import REJECTED
from eval.funnel import SAMPLES_PER_REASON, Funnel, funnel, in_turn
from pipeline.corpus.manifests import read_corpus

COLUMNS = ["language", "url", "text"]
REASON = pa.schema([REJECTED.field("reason")])


def read_funnel(corpus: str) -> Funnel:
    """Returns the funnel of a corpus.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
    """
    manifest = read_corpus(corpus)
    return funnel(manifest, _samples(corpus, sample_languages(manifest.languages)))


def sample_languages(entries: Mapping[str, LanguagePages]) -> dict[str, list[str]]:
    """Returns the languages to sample from, for each reason.

    Args:
        entries: `languages` of the manifest.
    """
    pages: dict[str, Counter[str]] = defaultdict(Counter)
    for code, entry in entries.items():
        for reason, count in entry.rejected.items():
            pages[reason][code] += count
    return {
        reason: _scripts_in_turn(counts)[:SAMPLES_PER_REASON] for reason, counts in pages.items()
    }


def _scripts_in_turn(pages: Counter[str]) -> list[str]:
    """Returns languages with pages: the largest of each script, then the second of each, ..."""
    largest = sorted(+pages, key=lambda code: (-pages[code], code))
    return in_turn(largest, lambda code: language.script if (language := find(code)) else "")


def _samples(corpus: str, languages_of: Mapping[str, list[str]]) -> dict[str, pa.Table]:
    codes = {code for chosen in languages_of.values() for code in chosen}
    found = {
        (code, reason): pages
        for code in codes
        for reason, pages in _of_language(
            join_path(corpus, "rejected", code),
            {reason for reason, chosen in languages_of.items() if code in chosen},
        )
    }
    return {
        reason: pa.concat_tables(
            [found[code, reason] for code in chosen if (code, reason) in found]
        )
        for reason, chosen in languages_of.items()
        if any((code, reason) in found for code in chosen)
    }


def _of_language(directory: str, reasons: set[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yields the first pages of each reason, from the first file that has any."""
    missing = set(reasons)
    for name in names_in(directory) if missing else ():
        path = join_path(directory, name)
        here = {
            reason
            for batch in read_pages(path, REASON)
            for reason in batch["reason"].unique().to_pylist()
        }
        if samples := missing & here:
            rejected = read_table(path, pa.schema([*map(REJECTED.field, COLUMNS), *REASON]))
            for reason in sorted(samples):
                of_reason = pc.call_function("equal", [rejected["reason"], reason])
                yield reason, rejected.filter(of_reason).select(COLUMNS)[:SAMPLES_PER_REASON]
        missing -= here
        if not missing:
            return

"""The step of `select`: each work item writes the kept and the rejected pages of one file.

The files have the names and the order of the corpus that is selected from, so a page is found again
in the same place. A work item that is done twice writes the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.corpus_manifest import interval
from data.curation.block_lists import BLOCKED, OPTED_OUT, ROBOTS_TXT
from data.curation.personal_data import masked
from data.errors import DataError
from data.files.paths import join_path
from data.reading.page import REJECTED
from pipeline.beam.counted import BLOCKED_ENTRIES, OPTED_OUT_ENTRIES, Counts
from pipeline.beam.waves import NO_WAVES, Waves
from pipeline.beam.workspace import Workspace
from pipeline.corpus import all_files
from pipeline.corpus.all_files import CorpusFile
from pipeline.corpus.pages import whole_pages
from pipeline.corpus.score_tables import read_scores
from pipeline.selection.late_rules import LateRules, listed, reasons
from pipeline.selection.robots import disallowed_rows

REFUSED = (OPTED_OUT.domain, ROBOTS_TXT)  # reasons of owners, whose text is not kept


@dataclass(frozen=True)
class SelectFile:
    """Writes what a file of a corpus becomes.

    Attributes:
        workspace: workspace of the job.
        corpus: corpus that is selected from.
        scores: directory of its scores.
        rules: rules that decide.
        robots: waves in which addresses were compared with robots.txt; None if they were not.
    """

    workspace: Workspace
    corpus: str
    scores: str
    rules: LateRules
    robots: Waves | None

    step = "select"

    def __call__(self, number: int) -> Counts:
        """Writes one file."""
        file = self.workspace.shards(list[CorpusFile])[number]
        pages = whole_pages(self.corpus, file.name)
        scores = read_scores(join_path(self.scores, file.name))
        if len(pages) != len(scores):
            raise DataError(
                f"{self.scores}/{file.name} should have a row for each of {len(pages)} pages and "
                f"has {len(scores)}; run score again into another directory."
            )
        disallowed = disallowed_rows(self.workspace, number, self.robots or NO_WAVES, len(pages))
        urls = pages["url"].to_pylist()
        why = reasons(urls, scores, file.language, self.rules, disallowed)
        counts, reason = Counts(), pa.array(why, pa.string())
        keep = reason.is_null()
        pages = self._masked(pages, scores, file.name)
        kept = pages.filter(keep)
        gone = pages.append_column("reason", reason).filter(reason.is_valid())
        count_kept(counts, file.language, kept)
        count_masked(counts, file.language, scores.filter(keep), self.rules.masked)
        count_gone(counts, file.language, gone)
        count_lost(counts, file.language, gone, unique_lines=self.rules.unique_lines)
        count_entries(counts, urls, self.rules)
        gone = without_refused_text(gone)
        self._write(file.name, kept)
        if len(gone):
            name = file.name.removeprefix(all_files.PAGES)
            self._write(f"{all_files.REJECTED}{name}", gone.select(REJECTED.names).cast(REJECTED))
        return counts

    def _masked(self, pages: pa.Table, scores: pa.Table, name: str) -> pa.Table:
        """Returns the pages with their personal data masked."""
        kinds = self.rules.masked
        if not kinds or not len(pages):
            return pages
        texts, spans = pages["text"].to_pylist(), scores["personal_data"].combine_chunks()
        for row, (text, places) in enumerate(zip(texts, spans.to_pylist(), strict=True)):
            ends = [0, *(span[end] for span in places for end in ("begin", "end")), len(text)]
            if ends != sorted(ends):
                raise DataError(
                    f"{self.scores}/{name} should have personal data in order, within a page's "
                    f"{len(text):,} characters, and has not in row {row}; run score again into "
                    "another directory."
                )
        return with_texts(pages, masked(texts, spans, kinds))

    def _write(self, name: str, table: pa.Table) -> None:
        with self.workspace.publish(join_path(self.workspace.out, name)) as unfinished:
            pq.write_table(table, unfinished, compression="zstd")


def count_entries(counts: Counts, urls: Sequence[str], rules: LateRules) -> None:
    """Counts the pages that each entry of lists names, also those that another rule removes."""
    blocked, opted_out = listed(rules.blocked, BLOCKED), listed(rules.opted_out, OPTED_OUT)
    for kind, entries in ((BLOCKED_ENTRIES, blocked), (OPTED_OUT_ENTRIES, opted_out)):
        for entry, number in entries.entries_of(urls).items():
            counts.add(kind, "", entry, number)


def count_kept(counts: Counts, language: str, pages: pa.Table) -> None:
    """Counts pages that stay: by split, characters, and probability of their language."""
    for split, number in _values(pages["split"]):
        counts.add("kept", language, split, number)
    counts.add("characters", language, "", characters(pages))
    for probability in pages["language_probability"].to_pylist():
        counts.add("confidence", language, interval(probability))


def count_gone(counts: Counts, language: str, pages: pa.Table) -> None:
    """Counts pages that leave, by reason."""
    for reason, number in _values(pages["reason"]):
        counts.add("rejected", language, reason, number)
        of_reason = pages.filter(pc.call_function("equal", [pages["reason"], reason]))
        counts.add("rejected_characters", language, reason, characters(of_reason))
        size = _summed("binary_length", of_reason)
        counts.add("rejected_bytes", language, reason, size)


def count_masked(counts: Counts, language: str, scores: pa.Table, kinds: Sequence[str]) -> None:
    """Counts the passages that are masked in pages, by kind."""
    for kind, number in _values(scores["personal_data"].combine_chunks().flatten().field("kind")):
        if kind in kinds:
            counts.add("masked", language, kind, number)


def without_refused_text(pages: pa.Table) -> pa.Table:
    """Returns rejected pages without the text of those whose owners refuse."""
    rows = zip(pages["text"].to_pylist(), pages["reason"].to_pylist(), strict=True)
    return with_texts(pages, ["" if reason in REFUSED else text for text, reason in rows])


def with_texts(pages: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Returns pages with other texts."""
    at = pages.schema.get_field_index("text")
    field = pages.schema.field(at)
    return pages.set_column(at, field, pa.array(texts, field.type))


def count_lost(counts: Counts, language: str, pages: pa.Table, *, unique_lines: bool) -> None:
    """Counts what no page has after these left: their near-duplicates, and lines if unique."""
    if unique_lines:
        lines = sum(text.count("\n") + 1 for text in pages["text"].to_pylist())
        counts.add("lines_gone", language, "", lines)
    if "cluster_size" in pages.schema.names:
        sizes: Sequence[int] = pages["cluster_size"].to_pylist()
        counts.add("copies_gone", language, "", sum(sizes) - len(sizes))


def characters(pages: pa.Table) -> int:
    """Returns the number of characters in all texts."""
    return _summed("utf8_length", pages)


def _summed(length: str, pages: pa.Table) -> int:
    lengths = pc.call_function(length, [pages["text"]])
    return pc.call_function("sum", [lengths]).as_py() or 0


def _values(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, int]]:
    counted = column.value_counts().to_pylist()
    return [(one["values"], one["counts"]) for one in counted]

"""Selection: the rules that decide after cleaning, and the corpus of the pages that they keep.

A page has one reason, that of the first rule that removes it:

1. owners           `opted_out`, `robots_txt`: the text of these pages is not kept
2. other lists      `blocked_domain`, `blocked_url`
3. language         `not_a_language`, `other_language`, `mixed_languages`
4. benchmarks       `benchmark_text`
5. quality          `gopher_...`, `fineweb_...`

Rules are functions of a page's address and of its scores, and only remove pages. What a removed
page had won from others (one page per line, per address and per near-duplicate) is not given back,
as the others are no longer there.

The files have the names and the order of the corpus that is selected from, so a page is found again
in the same place. A work item that is done twice writes the same bytes.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from data.corpus_manifest import CorpusManifest, interval
from data.curation import quality_rules
from data.curation.block_lists import (
    BLOCKED,
    OPTED_OUT,
    ROBOTS_TXT,
    BlockList,
    entries_in,
    first_reasons,
)
from data.curation.block_lists import Reasons as ListReasons
from data.curation.personal_data import mask
from data.curation.thresholds import Thresholds
from data.errors import DataError
from data.files.paths import join_path
from data.languages import NO_LANGUAGE, UNDETERMINED
from data.reading.page import REJECTED
from pipeline.beam.workspace import Workspace
from pipeline.corpus.counts import BLOCKED_ENTRIES, OPTED_OUT_ENTRIES, Tally
from pipeline.corpus.pages import (
    PAGES_FOLDER,
    REJECTED_FOLDER,
    CorpusFile,
    page_urls,
    whole_pages,
    write_pages,
)
from pipeline.corpus.summary import print_counts
from pipeline.curation.robots import AskRobots, disallowed_rows
from pipeline.curation.score import read_score_table
from pipeline.errors import ArtifactError

Reasons = list[str | None]
MOST_ENTRIES, SAMPLES = 20, 3  # entries with pages that are printed, the largest; and without


@dataclass(frozen=True, kw_only=True)
class LateRules:
    """What `select` applies.

    Attributes:
        blocked: files of blocked domains and addresses.
        opted_out: files of domains and addresses whose owners opted out.
        languages: whether a page whose combined language is another one leaves.
        least_share: least share of a page's characters in its language; 0 for none.
        benchmarks: whether pages that share text with a benchmark leave.
        quality: thresholds of each language; None if quality does not decide.
        masked: kinds of personal data that are masked.
        unique_lines: whether cleaning left each line in one page.
    """

    blocked: tuple[str, ...]
    opted_out: tuple[str, ...]
    languages: bool
    least_share: float
    benchmarks: bool
    quality: Mapping[str, Thresholds] | None
    masked: tuple[str, ...]
    unique_lines: bool


def reasons(
    urls: Sequence[str],
    scores: pa.Table,
    language: str,
    rules: LateRules,
    disallowed: Iterable[bool],
) -> Reasons:
    """Returns each page's reason to leave, or None.

    Args:
        urls: addresses of the pages of one file.
        scores: their scores, row by row.
        language: language of the file.
        rules: rules to apply.
        disallowed: whether robots.txt disallows each page.
    """
    by_rule: list[Reasons] = [
        read_lists(rules.opted_out, OPTED_OUT).reasons_of(urls),
        [ROBOTS_TXT if leaves else None for leaves in disallowed],
        read_lists(rules.blocked, BLOCKED).reasons_of(urls),
        language_reasons(scores, language, rules),
    ]
    if rules.benchmarks:
        by_rule.append(
            ["benchmark_text" if leaves else None for leaves in scores["benchmarks"].to_pylist()]
        )
    if rules.quality is not None and language in rules.quality:
        (batch,) = scores.combine_chunks().to_batches() or [None]
        by_rule.append(quality_rules.reasons(batch, rules.quality[language]) if batch else [])
    return first_reasons(*by_rule)


@functools.lru_cache(maxsize=4)
def read_lists(paths: tuple[str, ...], reasons: ListReasons) -> BlockList:
    """Returns the entries of lists, read once per worker.

    Raises:
        DataError: if a list does not exist, is damaged, or has no entry.
    """
    return BlockList.read(paths, reasons)


def set_aside(paths: tuple[str, ...], names: Sequence[str]) -> Iterator[str]:
    """Yields a sentence about the lines of lists that are not entries, if there are any."""
    lists = read_lists(paths, BLOCKED)
    if lists.set_aside:
        yield (
            f"{lists.set_aside:,} lines of {', '.join(names)} are neither domains nor addresses "
            f"and were set aside, such as {', '.join(map(repr, lists.samples))}."
        )


def matches(
    paths: tuple[str, ...], pages: Mapping[str, int], names: Sequence[str]
) -> Iterator[str]:
    """Yields which entries of lists name pages of a corpus, and which do not.

    Args:
        paths: the lists.
        pages: number of pages by entry, of those that name any.
        names: the lists as the user named them.
    """
    if not paths:
        return
    most = Counter(pages).most_common(MOST_ENTRIES)
    of_each = ", ".join(f"{entry} ({number:,})" for entry, number in most)
    more = f" and {len(pages) - len(most):,} more" if len(pages) > len(most) else ""
    if pages:
        yield f"entries of {', '.join(names)} that name pages: {of_each}{more}"
    lists = read_lists(paths, BLOCKED)
    if without := len(lists.domains) + len(lists.urls) - len(pages):
        others = (entry for path in paths for entry in entries_in(path) if entry not in pages)
        samples = ", ".join(dict.fromkeys(itertools.islice(others, SAMPLES)))
        yield f"entries of {', '.join(names)} that name no page: {without:,}, such as {samples}"


def pages_of_entries(
    corpus: str, files: Iterable[CorpusFile], paths: tuple[str, ...]
) -> Counter[str]:
    """Returns how many pages of a corpus each entry of lists names; reads addresses alone."""
    counts: Counter[str] = Counter()
    for file in files if paths else ():
        counts.update(
            read_lists(paths, BLOCKED).entries_of(page_urls(join_path(corpus, file.name)))
        )
    return counts


def language_reasons(scores: pa.Table, language: str, rules: LateRules) -> Reasons:
    """Returns why pages leave by their language, which the combined identifiers decided."""
    if not rules.languages or language == UNDETERMINED:
        return [None] * len(scores)
    combined = scores["combined_language"].to_pylist()
    shares = scores["language_share"].to_pylist()
    return [
        _language_reason(code, share, language, rules.least_share)
        for code, share in zip(combined, shares, strict=True)
    ]


def _language_reason(combined: str, share: float | None, language: str, least: float) -> str | None:
    if combined == NO_LANGUAGE:
        return "not_a_language"
    if combined != language:
        return "other_language"
    # The least share is rounded as shares are, so that equal ones pass.
    return "mixed_languages" if share is not None and share < np.float32(least) else None


REFUSED = (OPTED_OUT.domain, ROBOTS_TXT)  # reasons of owners, whose text is not kept


@dataclass(frozen=True)
class SelectFile:
    """Writes what a file of a corpus becomes.

    Attributes:
        workspace: workspace of the job.
        corpus: corpus that is selected from.
        scores: directory of its scores.
        rules: rules that decide.
        robots: exchange that compared addresses with robots.txt; None without any.
    """

    workspace: Workspace
    corpus: str
    scores: str
    rules: LateRules
    robots: AskRobots | None

    name = "select"

    def __call__(self, number: int) -> Tally:
        """Writes one file."""
        file = self.workspace.shards(list[CorpusFile])[number]
        pages = whole_pages(self.corpus, file.name, file.digest)
        scores = read_score_table(join_path(self.scores, file.name))
        if len(pages) != len(scores):
            raise DataError(
                f"{self.scores}/{file.name} should have a row for each of {len(pages)} pages and "
                f"has {len(scores)}; run score again into another directory."
            )
        disallowed = disallowed_rows(self.robots, number, len(pages))
        urls = pages["url"].to_pylist()
        why = reasons(urls, scores, file.language, self.rules, disallowed)
        counts, reason = Tally(), pa.array(why, pa.string())
        keep = reason.is_null()
        pages = self._mask(pages, scores, file.name)
        kept = pages.filter(keep)
        gone = pages.append_column("reason", reason).filter(reason.is_valid())
        count_kept(counts, file.language, kept)
        count_masked(counts, file.language, scores.filter(keep), self.rules.masked)
        count_gone(counts, file.language, gone)
        count_lost(counts, file.language, gone, unique_lines=self.rules.unique_lines)
        count_entries(counts, urls, self.rules)
        gone = without_refused_text(gone)
        space, out = self.workspace, self.workspace.out
        write_pages(space, out, file.name, kept)
        if len(gone):
            rejected = f"{REJECTED_FOLDER}{file.name.removeprefix(PAGES_FOLDER)}"
            write_pages(space, out, rejected, gone.select(REJECTED.names).cast(REJECTED))
        return counts

    def _mask(self, pages: pa.Table, scores: pa.Table, name: str) -> pa.Table:
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
        return with_texts(pages, mask(texts, spans, kinds))


def count_entries(counts: Tally, urls: Sequence[str], rules: LateRules) -> None:
    """Counts the pages that each entry of lists names, also those that another rule removes."""
    blocked, opted_out = read_lists(rules.blocked, BLOCKED), read_lists(rules.opted_out, OPTED_OUT)
    for kind, entries in ((BLOCKED_ENTRIES, blocked), (OPTED_OUT_ENTRIES, opted_out)):
        for entry, number in entries.entries_of(urls).items():
            counts.add(kind, detail=entry, number=number)


def count_kept(counts: Tally, language: str, pages: pa.Table) -> None:
    """Counts pages that stay: by split, characters, and probability of their language."""
    for split, number in _values(pages["split"]):
        counts.add("kept", language, split, number)
    counts.add("characters", language, number=characters(pages))
    for probability in pages["language_probability"].to_pylist():
        counts.add("confidence", language, interval(probability))


def count_gone(counts: Tally, language: str, pages: pa.Table) -> None:
    """Counts pages that leave, by reason."""
    for reason, number in _values(pages["reason"]):
        counts.add("rejected", language, reason, number)
        of_reason = pages.filter(pc.call_function("equal", [pages["reason"], reason]))
        counts.add("rejected_characters", language, reason, characters(of_reason))
        size = _sum_lengths("binary_length", of_reason)
        counts.add("rejected_bytes", language, reason, size)


def count_masked(counts: Tally, language: str, scores: pa.Table, kinds: Sequence[str]) -> None:
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


def count_lost(counts: Tally, language: str, pages: pa.Table, *, unique_lines: bool) -> None:
    """Counts what no page has after these left: their near-duplicates, and lines if unique."""
    if unique_lines:
        lines = sum(text.count("\n") + 1 for text in pages["text"].to_pylist())
        counts.add("lines_gone", language, number=lines)
    if "cluster_size" in pages.schema.names:
        sizes: Sequence[int] = pages["cluster_size"].to_pylist()
        counts.add("copies_gone", language, number=sum(sizes) - len(sizes))


def characters(pages: pa.Table) -> int:
    """Returns the number of characters in all texts."""
    return _sum_lengths("utf8_length", pages)


def _sum_lengths(length: str, pages: pa.Table) -> int:
    lengths = pc.call_function(length, [pages["text"]])
    return pc.call_function("sum", [lengths]).as_py() or 0


def _values(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, int]]:
    counted = column.value_counts().to_pylist()
    return [(entry["values"], entry["counts"]) for entry in counted]


CARRIED = ("license", "withdrawals")  # fields that hold for what is selected, too
DECIDED = ("rejected", "rejected_characters", "masked", "lines_gone", "copies_gone")


def manifest_of(
    counts: Tally,
    source: Mapping[str, Any],
    before: CorpusManifest,
    rules: Mapping[str, Any],
    place: str,
) -> dict[str, Any]:
    """Returns the manifest's body.

    Args:
        counts: sums over all files.
        source: manifest of the corpus that was selected from, as JSON values.
        before: the same manifest.
        rules: the rules that decided, as JSON values.
        place: the corpus, for messages.

    Raises:
        ArtifactError: if the corpus does not hold the pages that its manifest counts.
    """
    languages = {code: _language(counts, code, entry) for code, entry in before.languages.items()}
    for code, entry in before.languages.items():
        after = languages[code]
        read = after["kept"] + sum(after["rejected"].values())
        if entry.kept != read:
            raise ArtifactError(
                f"{place} should hold {entry.kept} pages of {code} by its manifest, and "
                f"{read} were read; restore its files, or clean again."
            )
    carried = {name: source[name] for name in CARRIED if name in source}
    return carried | {
        "rules": dict(source.get("rules", {})) | {"late": [*before.rules.late, dict(rules)]},
        "languages": languages,
        "history": [*source.get("history", []), _decided_before(source)],
        "carried_withdrawals": len(source.get("withdrawals", ())),
        "input": {"records": sum(entry.kept for entry in before.languages.values())},
    }


def _decided_before(source: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the counts of an earlier command, without those of what it kept."""
    languages = {
        code: {name: entry[name] for name in DECIDED if entry.get(name)}
        for code, entry in source["languages"].items()
    }
    kept = {name: source[name] for name in ("stage", "not_asked", "broken_records", "input")
            if name in source}  # fmt: skip
    return kept | {"languages": languages}


def _language(counts: Tally, code: str, before: Any) -> dict[str, Any]:
    kept = counts.details("kept", code)
    return {
        "kept": kept.total(),
        "held_out": kept["validation"],
        "rejected": counts.details("rejected", code),
        "rejected_characters": +counts.details("rejected_characters", code),
        "rejected_bytes": +counts.details("rejected_bytes", code),
        "characters": counts.number("characters", code),
        "removed_lines_by_rule": before.removed_lines_by_rule,
        "confidence": counts.details("confidence", code),
        "masked": counts.details("masked", code),
        "lines_gone": counts.number("lines_gone", code),
        "copies_gone": counts.number("copies_gone", code),
    }


def print_summary(console: Console, body: Mapping[str, Any], seconds: float) -> None:
    """Prints the numbers of pages kept and rejected, by reason, and of passages masked."""
    entries = list(body["languages"].values())
    rejected, masked = Counter[str](), Counter(dict.fromkeys(body["rules"]["late"][-1]["mask"], 0))
    for entry in entries:
        rejected.update(entry["rejected"])
        masked.update(entry["masked"])  # a kind that no page has is shown as 0
    counts = {
        "pages": body["input"]["records"],
        "kept": sum(entry["kept"] for entry in entries),
        **{f"rejected: {name}": number for name, number in rejected.most_common()},
        **{f"masked: {name}": number for name, number in masked.most_common()},
        "lines that no page has now": sum(entry["lines_gone"] for entry in entries),
        "near-duplicates that are gone too": sum(entry["copies_gone"] for entry in entries),
    }
    print_counts(console, counts, seconds)

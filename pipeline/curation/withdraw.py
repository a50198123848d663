"""Withdrawal: listed domains and pages leave a corpus, in place.

Only files that hold such a page are written again, each by an atomic rename; all are read, as their
digests are compared with the manifest's. Rejected pages are removed too, as their text lies in the
corpus. The manifest records the reason, the hosts, and the numbers of pages, lines and
near-duplicates that are gone. Nothing comes back that these pages had won from others (one page per
line and address).
What is kept for a later addition (growth/) has their text, and the difference to a former corpus
(delta/) their addresses, so both are removed first, unless nothing is listed. Scores of the corpus
belong to its former rows, and `select` refuses them.

One step counts all files, and they are compared with the manifest before another step changes any.
So a killed job counts each page once, and the second step may be repeated: it removes the pages
still there. The same command again finishes the withdrawal with the lists as they were, of which it
holds copies. Once any file may have changed, other commands refuse the corpus until it is finished.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from jaxtyping import Bool

from data.corpus_manifest import CorpusManifest
from data.curation.block_lists import BLOCKED
from data.files.digests import checked_copy, digest_of_bytes, digest_of_contents
from data.files.json_files import read_json, write_json
from data.files.locks import check_held
from data.files.parquet_files import read_pages
from data.files.paths import (
    absolute,
    directories_in,
    exists,
    join_path,
    local_copy,
    read_bytes,
    remove,
)
from data.languages import UNDETERMINED
from data.reading.page import BROKEN
from data.urls import host_of
from pipeline.artifacts import MANIFEST, Head, digest_of_manifest, remove_claim, renew
from pipeline.beam.job import do_items
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import WORK, Workspace, workspace_key
from pipeline.corpus.card import write_cards
from pipeline.corpus.counts import (
    BLOCKED_ENTRIES,
    HOSTS,
    Tally,
    count_gone,
    count_kept,
    count_lost,
    total,
)
from pipeline.corpus.onto import delta
from pipeline.corpus.onto.verdicts import FOLDER, GrowthFiles
from pipeline.corpus.pages import (
    PAGES_FOLDER,
    REJECTED_FOLDER,
    WITHDRAWAL,
    CorpusFile,
    checked_urls,
    corpus_files,
    has_unique_lines,
    manifest_of_corpus,
    options_of,
    unfinished_withdrawal,
    whole_pages,
    write_pages,
)
from pipeline.corpus.read import BROKEN_NAME
from pipeline.curation.lists import matches, pages_of_entries, read_lists, set_aside
from pipeline.curation.manifest import FILES, manifest_without
from pipeline.errors import ArtifactError
from pipeline.stage import Intent, Job, Reading, files_of, output_lock
from pipeline.terminal import Terminal, print_end, print_message

STAGE = "withdraw"
NO_GROWTH = (
    "growth/ held the text of the pages and is removed, so no crawl can be added to this corpus; "
    "corpora that it was made of, or that were made of it, are not changed."
)
# What holds text or addresses beside the pages; `work` of a cleaning that was killed after its end.
TEXT_FOLDERS = (FOLDER, delta.FOLDER, WORK)
LISTS = "lists"  # folder of the workspace: copies, as a list may change before the end
AS_IT_BEGAN = (
    "it was finished with its lists as they were when it began; run the command again if they have "
    "changed since."
)
ROWS = "rows"  # kind of count: rows by folder


@dataclass(frozen=True)
class FindSites:
    """Counts the pages of listed sites in one file; text is read only where there are any."""

    workspace: Workspace
    corpus: str
    sites: tuple[str, ...]
    unique_lines: bool

    name = "find"

    def __call__(self, number: int) -> Tally:
        """Counts one file."""
        file, counts = self.workspace.shards(list[CorpusFile])[number], Tally()
        urls = checked_urls(join_path(self.corpus, file.name), file.digest)
        counts.add(ROWS, file.language, file.name.partition("/")[0], len(urls))
        of_sites = rows_of(urls, self.sites)
        if of_sites.any():
            pages = whole_pages(self.corpus, file.name, file.digest)
            gone = pages.filter(pa.array(of_sites))
            self._count(file, gone, counts)
        return counts

    def _count(self, file: CorpusFile, gone: pa.Table, counts: Tally) -> None:
        if file.name.startswith(f"{PAGES_FOLDER}/"):
            count_kept(counts, file.language, gone)
            count_lost(counts, file.language, gone, unique_lines=self.unique_lines)
        else:
            count_gone(counts, file.language, gone)
        urls = gone["url"].to_pylist()
        for url in urls:
            counts.add(HOSTS, detail=host_of(url))
        for entry, number in read_lists(self.sites, BLOCKED).entries_of(urls).items():
            counts.add(BLOCKED_ENTRIES, detail=entry, number=number)
        counts.add(FILES)


@dataclass(frozen=True)
class RemoveSites:
    """Writes a file without the pages of listed sites, if it has any."""

    workspace: Workspace
    corpus: str
    sites: tuple[str, ...]

    name = "remove"

    def __call__(self, number: int) -> Tally:
        """Writes one file."""
        file = self.workspace.shards(list[CorpusFile])[number]
        changes = self.workspace.record(FindSites.name, number, Tally).number(FILES)
        if changes and not is_written(self.workspace, self.corpus, file.name):
            pages = whole_pages(self.corpus, file.name, file.digest)
            of_sites = rows_of(pages["url"].to_pylist(), self.sites)
            stay = pages.filter(pa.array(~of_sites))
            write_pages(self.workspace, self.corpus, file.name, stay)
        return Tally()


def is_written(workspace: Workspace, corpus: str, name: str) -> bool:
    """Returns whether a file is what this withdrawal wrote, before it was killed."""
    digest = workspace.digest(name)
    return digest is not None and digest_of_contents(join_path(corpus, name)) == digest


def blank_details(workspace: Workspace, corpus: str, digest: str, sites: tuple[str, ...]) -> None:
    """Removes listed addresses from a list of broken records, if it exists; the records stay."""
    if not names_listed(workspace, corpus, digest, sites):
        return
    path = join_path(corpus, BROKEN_NAME)
    with local_copy(path) as here:
        at = BROKEN.get_field_index("detail")
        with (
            workspace.publish_output(corpus, BROKEN_NAME) as unfinished,
            pq.ParquetWriter(unfinished, BROKEN, compression="zstd") as rows,
        ):
            for batch in read_pages(here, BROKEN, name=path):
                parts = zip(_details(batch), named_in(batch, sites), strict=True)
                left = ["" if gone else detail for detail, gone in parts]
                rows.write_batch(batch.set_column(at, "detail", pa.array(left, pa.string())))


def names_listed(workspace: Workspace, corpus: str, digest: str, sites: tuple[str, ...]) -> bool:
    """Returns whether a list of broken records exists and has listed addresses.

    Args:
        workspace: workspace of the withdrawal, which may have removed them before it was killed.
        corpus: the corpus.
        digest: digest of the list before the withdrawal.
        sites: lists of addresses.
    """
    path = join_path(corpus, BROKEN_NAME)
    if not exists(path) or is_written(workspace, corpus, BROKEN_NAME):
        return False
    with checked_copy(path, digest) as here:
        return any(named_in(batch, sites).any() for batch in read_pages(here, BROKEN, name=path))


def files_left(
    workspace: Workspace, corpus: str, files: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Returns the manifest's field of digests after a withdrawal; none where there was none.

    Args:
        workspace: workspace of the withdrawal, with the digests of what it wrote.
        corpus: the corpus, of which whole folders may have been removed.
        files: digests of its files before.
    """
    folders = directories_in(corpus)
    left = {
        name: digest
        for name, digest in {**files, **workspace.digests()}.items()
        if name.partition("/")[0] in folders
    }
    return {"files": left} if files else {}


def named_in(records: pa.RecordBatch, sites: tuple[str, ...]) -> Bool[np.ndarray, " records"]:
    """Returns which details are a listed address, or begin with one before the error's text."""
    details = _details(records)
    return rows_of(details, sites) | rows_of(
        [detail.partition(": ")[0] for detail in details], sites
    )


def _details(records: pa.RecordBatch) -> list[str]:
    return records["detail"].to_pylist()


def rows_of(urls: list[str], sites: tuple[str, ...]) -> Bool[np.ndarray, " pages"]:
    """Returns which addresses the lists name."""
    reasons = read_lists(sites, BLOCKED).reasons_of(urls)
    return np.array([reason is not None for reason in reasons], bool)


def check_rows(counts: Tally, manifest: CorpusManifest, corpus: str) -> None:
    """Checks that the files of a corpus held the pages that its manifest counts.

    Raises:
        ArtifactError: if they did not.
    """
    for code, entry in manifest.languages.items():
        rows = counts.details(ROWS, code)
        for folder, expected in (
            (PAGES_FOLDER, entry.kept),
            (REJECTED_FOLDER, sum(entry.rejected.values())),
        ):
            if rows[folder] != expected:
                raise ArtifactError(
                    f"{corpus} should hold {expected:,} rows of {code} in {folder}/ by its "
                    f"manifest, and its files hold {rows[folder]:,}; restore them."
                )


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """A withdrawal that may begin, or go on after a kill.

    Attributes:
        place: directory of the corpus, as the user named it.
        corpus: the same, as every process resolves it.
        manifest: manifest of the corpus.
        files: its files, rejected pages included.
        lists: lists of domains and addresses, as the user named them.
        sites: the same, as every process resolves them; of an unfinished withdrawal its copies.
        reason: reason, for the manifest.
        unfinished: claim of the withdrawal that is to be finished; None for a new one.
        options: options of the Beam job.
    """

    place: str
    corpus: str
    manifest: CorpusManifest
    files: Sequence[CorpusFile]
    lists: tuple[str, ...]
    sites: tuple[str, ...]
    reason: str
    unfinished: Head | None
    options: PipelineOptions

    def begin(self) -> Workspace:
        """Returns the workspace, with files and lists for its workers.

        Raises:
            ArtifactError: if another withdrawal was interrupted in the meantime.
        """
        out = join_path(self.corpus, WITHDRAWAL)
        if unfinished_withdrawal(self.corpus) != self.unfinished:
            raise ArtifactError(
                f"{self.place} was changed by another withdrawal just now; run the command again."
            )
        if self.unfinished is not None:
            return Workspace(out, self.unfinished.inputs["key"])
        remove_claim(out)  # of one that was killed after it wrote the manifest
        lists = [read_bytes(path) for path in self.sites]
        digests = [digest_of_manifest(self.corpus), *map(digest_of_bytes, lists)]
        workspace = Workspace(out, workspace_key(digests, self.reason, self.files))
        workspace.forget_stale(())
        workspace.write_shards(self.files)
        for path, content in zip(copies(workspace, self.lists), lists, strict=True):
            with workspace.publish(path) as unfinished:
                unfinished.write_bytes(content)
        return workspace

    def find(self, workspace: Workspace, sites: tuple[str, ...]) -> Tally:
        """Counts the listed pages of every file.

        Raises:
            ArtifactError: if files hold more or fewer pages than the manifest counts.
        """
        step = FindSites(workspace, self.corpus, sites, has_unique_lines(self.manifest))
        do_items(step, len(self.files), self.options)
        counts = total(workspace.records(step.name, len(self.files), Tally))
        check_rows(counts, self.manifest, self.place)
        return counts

    def remove(self, workspace: Workspace, sites: tuple[str, ...], counts: Tally) -> None:
        """Writes every file that has listed pages without them, and removes other text."""
        check_held(self.corpus)
        broken = self.corpus, self.manifest.files.get(BROKEN_NAME, ""), sites
        # Text in languages that were not asked for lies in growth/ alone, so it is not looked at.
        has_more = bool(self.manifest.not_asked.pages) or names_listed(workspace, *broken)
        if counts.number(HOSTS):
            settings = settings_of(self.reason, self.lists)
            renew(workspace.out, STAGE, settings, {"key": workspace.key})
        for folder in TEXT_FOLDERS if counts.number(HOSTS) or has_more else (WORK,):
            remove(join_path(self.corpus, folder))
        if counts.number(HOSTS):
            step = RemoveSites(workspace, self.corpus, sites)
            do_items(step, len(self.files), self.options)
        blank_details(workspace, *broken)


def withdrawing(place: str, lists: tuple[str, ...], reason: str, beam: Sequence[str]) -> Job:
    """Returns the job that removes pages from a corpus.

    Args:
        place: directory of the corpus.
        lists: lists of domains and addresses.
        reason: reason, for the manifest.
        beam: options of the Beam job.

    Raises:
        ArtifactError: if there is no such corpus, or another withdrawal is unfinished.
        DataError: if a list is damaged.
    """
    corpus, manifest = absolute(place), manifest_of_corpus(place)
    unfinished = unfinished_withdrawal(corpus)
    if unfinished is None:
        files = corpus_files(corpus, (PAGES_FOLDER, REJECTED_FOLDER))
        sites = tuple(map(absolute, lists))
    else:
        if unfinished.settings != settings_of(reason, lists):
            raise ArtifactError(
                f"{place} holds an unfinished withdrawal with other lists or another reason; run "
                f"that one first: {options_of(unfinished)}."
            )
        workspace = Workspace(join_path(corpus, WITHDRAWAL), unfinished.inputs["key"])
        files, sites = workspace.shards(list[CorpusFile]), copies(workspace, lists)
    pages = sum(entry.kept for entry in manifest.languages.values())
    size = sum(file.size for file in files)
    entries = read_lists(sites, BLOCKED)  # refused here, not by a worker
    holds = f"domains: {len(entries.domains):,}, addresses: {len(entries.urls):,}"
    intent = Intent(
        stage=STAGE,
        reads=[
            Reading("corpus", place, len(files), size, f"{pages:,} pages"),
            files_of("lists", " ".join(lists), sites, holds),
        ],
        writes=f"the files that hold a listed page, and {MANIFEST}{removes(corpus, manifest)}",
        out=None,
        work=f"addresses of {pages:,} pages and of the rejected ones",
    )
    withdrawal = Withdrawal(
        place=place,
        corpus=corpus,
        manifest=manifest,
        files=files,
        lists=lists,
        sites=sites,
        reason=reason,
        unfinished=unfinished,
        options=pipeline_options(beam),
    )

    def seen() -> Intent:
        named = matches(sites, pages_of_entries(corpus, files, sites), lists)
        return replace(intent, finds=[*named])

    return Job(seen, partial(withdraw, withdrawal))


def settings_of(reason: str, lists: Sequence[str]) -> dict[str, Any]:
    """Returns the settings of a withdrawal's claim."""
    return {"reason": reason, "sites": [*lists]}


def copies(workspace: Workspace, lists: Sequence[str]) -> tuple[str, ...]:
    """Returns the paths of a withdrawal's copies of its lists."""
    numbers = range(len(lists))
    return tuple(join_path(workspace.directory, LISTS, f"{number:05d}") for number in numbers)


def removes(corpus: str, manifest: CorpusManifest) -> str:
    """Returns the folders that a withdrawal removes whole, in words."""
    there = directories_in(corpus)
    folders = ", ".join(f"{name}/" for name in TEXT_FOLDERS if name in there)
    if not folders:
        return ""
    if manifest.not_asked.pages:
        return f"; removes {folders}, which may hold pages in languages that were not asked for"
    return f"; removes {folders} if a page is listed"


def withdraw(withdrawal: Withdrawal) -> None:
    """Removes the pages, and records it in the manifest."""
    corpus, lists, files = withdrawal.corpus, withdrawal.lists, withdrawal.files
    with output_lock(withdrawal.place, STAGE):
        workspace = withdrawal.begin()
        sites = copies(workspace, lists)
        growth = GrowthFiles(corpus).facts_path
        grows = exists(growth)
        with Terminal(stderr=True, highlight=False).status(f"withdraw: {len(files)} files"):
            counts = withdrawal.find(workspace, sites)
            for sentence in matches(sites, counts.details(BLOCKED_ENTRIES), lists):
                print_message(f"{STAGE}: {sentence}")
            withdrawal.remove(workspace, sites, counts)
        pages, path = counts.number(HOSTS), join_path(corpus, MANIFEST)
        before = body = read_json(path, dict[str, Any])
        if pages:
            entry = {"key": workspace.key, "reason": withdrawal.reason, "sites": lists}
            entry["manifest"] = digest_of_manifest(corpus)  # before the withdrawal
            body = manifest_without(before, counts, entry)
            check_held(path)
            write_cards(corpus, body)
        written = {**body, **files_left(workspace, corpus, withdrawal.manifest.files)}
        if written != before:
            check_held(path)
            write_json(path, written)
        cautions = [*set_aside(sites, lists), *changes_of_languages(before, body)]
        check_held(corpus)
        remove(workspace.out)
        made = f"{pages:,} pages removed from {counts.number(FILES)} of {len(files)} files"
        cautions += [NO_GROWTH] if grows and not exists(growth) else []
        cautions += [] if withdrawal.unfinished is None else [AS_IT_BEGAN]
        print_end(STAGE, made, cautions)


def changes_of_languages(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yields effects on languages, from the manifests before and after this withdrawal."""
    if before is after:
        yield "No page matched."
    bare = [
        code
        for code, entry in after["languages"].items()
        if code != UNDETERMINED and entry["kept"] and not entry["held_out"]
        and any(of["languages"].get(code, {}).get("kept") for of in after.get("withdrawals", ()))
    ]  # fmt: skip
    if bare:
        yield (
            f"No page is held out any more in {', '.join(bare)}: a run on tokens made from this "
            "corpus is not evaluated there."
        )

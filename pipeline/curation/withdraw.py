"""Withdrawal: one step counts the pages of listed sites, another writes the files without them.

All files are counted before any changes. So a killed job counts each page once, and the second step
may be repeated: it removes the pages still there.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool

from data.corpus_manifest import CorpusManifest
from data.curation.block_lists import BLOCKED
from data.files.digests import checked_copy, digest_of_contents
from data.files.parquet_files import read_pages
from data.files.paths import directories_in, exists, join_path, local_copy
from data.reading.page import BROKEN
from data.urls import host_of
from pipeline.beam.workspace import Workspace
from pipeline.corpus.counts import BLOCKED_ENTRIES, HOSTS, Tally
from pipeline.corpus.pages import (
    PAGES_FOLDER,
    REJECTED_FOLDER,
    CorpusFile,
    checked_urls,
    whole_pages,
    write_pages,
)
from pipeline.corpus.read import BROKEN_NAME
from pipeline.curation.select import count_gone, count_kept, count_lost, read_lists
from pipeline.errors import ArtifactError

FILES, ROWS = "files", "rows"  # kinds of counts: files that change, and rows by folder
MOST_HOSTS = 1000  # hosts in the manifest, those with the most pages
# Text of owners who refuse is counted and not kept, so less may be subtracted than was counted.
SIZES = ("rejected_characters", "rejected_bytes")


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


def manifest_without(
    manifest: Mapping[str, Any], counts: Tally, entry: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the manifest with the counts of withdrawn pages subtracted, and one more entry.

    Args:
        manifest: manifest before the withdrawal.
        counts: counts of the withdrawn pages.
        entry: what identifies the withdrawal.
    """
    languages = {
        code: _language(dict(before), code, counts)
        for code, before in manifest["languages"].items()
    }
    hosts = counts.details(HOSTS)
    described = {
        **entry,
        "files": counts.number(FILES),
        "hosts": dict(sorted(hosts.most_common(MOST_HOSTS))),
        "hosts_number": len(hosts),
        "languages": {code: gone for code in languages if (gone := _withdrawn(code, counts))},
    }
    withdrawals = [*manifest.get("withdrawals", []), described]
    return {**manifest, "languages": languages, "withdrawals": withdrawals}


def _language(entry: dict[str, Any], code: str, counts: Tally) -> dict[str, Any]:
    kept = counts.details("kept", code)
    entry["kept"] -= kept.total()
    entry["held_out"] -= kept["validation"]
    entry["characters"] -= counts.number("characters", code)
    if kept:  # no row holds what these counted
        entry = {name: of for name, of in entry.items() if name not in ("cld3", "masked")}
    for field in ("rejected", "confidence", *SIZES):
        if field not in entry:
            continue
        left = Counter(entry[field])
        left.subtract(counts.details(field, code))
        entry[field] = {name: number for name, number in left.items() if number}
    for field in SIZES:
        if field in entry:
            left = Counter({why: entry[field].get(why, 0) for why in entry["rejected"]})
            entry[field] = dict(+left)
    return entry


def _withdrawn(code: str, counts: Tally) -> dict[str, Any]:
    """Returns the numbers of a language's withdrawn pages; empty if there are none."""
    numbers = {
        "kept": counts.number("kept", code),
        "rejected": counts.number("rejected", code),
        "characters": counts.number("characters", code),
        "lines_gone": counts.number("lines_gone", code),
        "copies_gone": counts.number("copies_gone", code),
    }
    return numbers if any(numbers.values()) else {}

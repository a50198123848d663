"""Corpora as later stages read them: one or more outputs of `clean` or `select` as one.

Each is a local directory or an address on an object store. A file of pages is fetched whole when
all of its text is read, because text is nearly all of it. When only its footer or its first texts
are read, only these are fetched.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from data.examples.mixture import TextSizes
from data.files.parquet_files import read_pages, read_schema, read_table
from data.files.paths import absolute, join_path, sizes_in
from data.languages import all_languages
from data.reading.page import RANGES, REJECTED, WRITTEN, WRITTEN_WITH_CLUSTERS
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.artifacts.intent import Reading
from pipeline.corpus.all_files import PAGES
from pipeline.corpus.manifests import read_corpus, sources_of
from pipeline.errors import ArtifactError


class PageFile(NamedTuple):
    """A file of pages.

    Attributes:
        path: path or address that is valid in every process of the job.
        size: size in bytes.
    """

    path: str
    size: int


def corpus_digests(corpora: Sequence[str]) -> dict[str, str]:
    """Returns the digest of each corpus, in the order given.

    Raises:
        ArtifactError: if a directory is not a finished corpus, or two hold the same pages.
    """
    of_digest: dict[str, str] = {}
    for corpus in corpora:
        read_corpus(corpus)
        for digest in sources_of(corpus):
            if digest in of_digest:
                raise ArtifactError(
                    f"{of_digest[digest]} and {corpus} hold the same pages, as copies, additions "
                    "or selections of one corpus, and these would count twice; name one of them."
                )
            of_digest[digest] = corpus
    return {f"corpus_{number}": digest_of_manifest(path) for number, path in enumerate(corpora)}


def corpus_read(corpora: Sequence[str], files: Sequence[PageFile]) -> Reading:
    """Returns corpora as something that a command reads: these files, and their training pages.

    Raises:
        ArtifactError: if no language has a training page.
    """
    pages = training_pages(corpora)
    holds = f"{sum(pages.values()):,} training pages in {len(pages)} languages"
    size = sum(file.size for file in files)
    return Reading("corpus", " ".join(corpora), len(files), size, holds)


def training_pages(corpora: Sequence[str]) -> dict[str, int]:
    """Returns the number of training pages per language, for the 107 languages in mC4's order.

    Pages of undetermined language ("und") are kept in a corpus but never trained on.

    Raises:
        ArtifactError: if no language has a training page.
    """
    counts = split_pages(corpora)
    found = {l.code: counts[f"{l.code}/train"] for l in all_languages()}  # noqa: E741
    pages = {code: count for code, count in found.items() if count > 0}
    if not pages:
        raise ArtifactError(
            f"{', '.join(map(str, corpora))} holds no training page in any language; "
            "look at the reasons in its manifest.json and clean with other rules or more input."
        )
    return pages


def split_pages(corpora: Sequence[str]) -> Counter[str]:
    """Returns the number of pages by language and split (`sw/train`), from the manifests."""
    counts: Counter[str] = Counter()
    for corpus in corpora:
        for code, entry in read_corpus(corpus).languages.items():
            counts[f"{code}/train"] += entry.kept - entry.held_out
            counts[f"{code}/validation"] += entry.held_out
    return counts


def training_sizes(corpora: Sequence[str]) -> TextSizes:
    """Returns pages and characters of each language with training pages, for the mixture.

    The manifest counts characters of all kept pages, so those of held-out pages are subtracted in
    proportion.
    """
    pages = training_pages(corpora)
    characters: Counter[str] = Counter()
    for corpus in corpora:
        for code, entry in read_corpus(corpus).languages.items():
            share = 1 - entry.held_out / max(entry.kept, 1)
            characters[code] += round(entry.characters * share)
    return TextSizes(pages, {code: characters[code] for code in pages})


def page_files(corpora: Sequence[str], language: str, split: str) -> list[PageFile]:
    """Returns the Parquet files of one language and split, in order."""
    return [
        PageFile(join_path(directory, name), size)
        for corpus in corpora
        for directory in [join_path(absolute(corpus), "pages", language)]
        for name, size in sizes_in(directory).items()
        if name.startswith(f"{split}-") and name.endswith(".parquet")
    ]


def page_texts(path: str | Path) -> Iterator[str]:
    """Yields the texts of a file, of which some pages are in memory at a time.

    Of a store's file no more is fetched than is read. One that is read whole is fetched faster
    whole (`local_copy`).
    """
    for batch in read_pages(path, _columns(["text"])):
        yield from batch["text"].to_pylist()


def page_urls(path: str) -> list[str]:
    """Returns the addresses of a file's pages; of a store's file no more is fetched."""
    return [url for some in read_pages(path, _columns(["url"])) for url in some["url"].to_pylist()]


def page_rows(path: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Returns some columns of a file of pages, as rows."""
    return read_table(path, _columns(columns), ranges=RANGES).to_pylist()


def whole_pages(corpus: str, name: str) -> pa.Table:
    """Returns a file of kept or rejected pages, with all columns that `clean` writes."""
    path = join_path(corpus, name)
    columns = WRITTEN
    if not name.startswith(f"{PAGES}/"):
        columns = REJECTED
    elif "cluster_size" in read_schema(path).names:
        columns = WRITTEN_WITH_CLUSTERS
    return read_table(path, columns, ranges=RANGES)


def _columns(names: Sequence[str]) -> pa.Schema:
    return pa.schema([WRITTEN.field(name) for name in names])

"""A corpus as later stages read it, by whichever command wrote it: manifest, files, pages, samples.

A corpus is a local directory or an address on an object store, and several are read as one. A file
of pages is fetched whole when all of its text is read, because text is nearly all of it, and its
digest is compared with the manifest's. When only its footer or its first texts are read, only these
are fetched, and no digest is compared.

Samples show what each rule rejected. Those of a reason come from several languages and as many
scripts as possible, because the effect of a rule on Chinese does not show in English. Languages
with the most rejected pages come first. Every reason in the manifest gets samples, however rare.
Memory holds the rejected pages of one file at most, and text is read only from files with a reason
that still lacks samples.
"""

import functools
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct

from data.corpus_manifest import CorpusManifest, Files, LanguagePages
from data.examples.mixture import TextSizes
from data.files.digests import checked_copy
from data.files.json_files import Count, Name, RelativePath, read_json
from data.files.parquet_files import read_pages, read_schema, read_table
from data.files.paths import absolute, directories_in, exists, join_path, names_in, sizes_in
from data.languages import all_languages, find
from data.reading.page import RANGES, REJECTED, WRITTEN, WRITTEN_WITH_CLUSTERS
from data.rules.rule_sets import none
from eval.funnel import SAMPLES_PER_REASON, Funnel, funnel, in_turn
from pipeline.artifacts import (
    CLAIM,
    CORPUS,
    MANIFEST,
    SELECT,
    Head,
    digest_of_manifest,
    read_head,
    read_manifest,
)
from pipeline.beam.workspace import Workspace
from pipeline.errors import ArtifactError
from pipeline.stage import Reading

PAGES_FOLDER, REJECTED_FOLDER = "pages", "rejected"


class CorpusFile(NamedTuple):
    """One Parquet file of a corpus.

    Attributes:
        language: mC4's code, or "und".
        name: path relative to the corpus.
        size: size in bytes.
        digest: SHA-256; "" in a corpus of an earlier version.
    """

    language: Name
    name: RelativePath
    size: Count
    digest: str = ""


def corpus_files(corpus: str, folders: Sequence[str] = (PAGES_FOLDER,)) -> list[CorpusFile]:
    """Returns the Parquet files of a corpus, in the order of their names.

    Raises:
        ArtifactError: if they are others than its manifest has.
    """
    top, digests = absolute(corpus), digests_of(corpus)
    files = [
        CorpusFile(code, file, size, digests.get(file, ""))
        for folder in folders
        for code in sorted(directories_in(join_path(top, folder)))
        for name, size in sizes_in(join_path(top, folder, code)).items()
        if name.endswith(".parquet")
        for file in [join_path(folder, code, name)]
    ]
    for folder in folders:
        _check_names(corpus, digests, f"{folder}/", [file.name for file in files])
    return files


def digests_of(corpus: Path | str) -> Mapping[str, str]:
    """Returns the digests of a corpus's files by name; none for a corpus of an earlier version.

    Raises:
        DataError: if its manifest is damaged.
    """
    return _read_digests(str(corpus), digest_of_manifest(corpus))


@functools.lru_cache(maxsize=4)
def _read_digests(corpus: str, _manifest: str) -> Mapping[str, str]:
    return read_json(join_path(corpus, MANIFEST), Files).files


def _check_names(
    corpus: str, digests: Mapping[str, str], prefix: str, names: Sequence[str]
) -> None:
    """Checks that a corpus has those files, of all that begin with a prefix, that it should."""
    of_prefix = {name for name in names if name.startswith(prefix)}
    others = of_prefix ^ {name for name in digests if name.startswith(prefix)}
    if digests and others:
        name = min(others)
        state = "is missing" if name in digests else "is in no line of its manifest"
        raise ArtifactError(
            f"{corpus} should have the files that its manifest lists, and {name} {state}; restore "
            "its files, or clean again."
        )


WITHDRAWAL = "withdrawal"  # folder of a corpus: workspace and claim of a withdrawal


def read_corpus(directory: Path | str) -> CorpusManifest:
    """Returns the manifest of a corpus.

    Raises:
        ArtifactError: if the directory is not a finished corpus, or a withdrawal has changed a part
            of its files.
        DataError: if its manifest is damaged.
    """
    if withdrawal := unfinished_withdrawal(directory):
        raise ArtifactError(
            f"{directory} holds an unfinished withdrawal ({options_of(withdrawal)}), so its files "
            f"differ from its {MANIFEST}; run that mswitch withdraw again first."
        )
    return manifest_of_corpus(directory)


def manifest_of_corpus(directory: Path | str) -> CorpusManifest:
    """Returns the manifest of a corpus, also of one with an unfinished withdrawal.

    Raises:
        ArtifactError: if the directory is not a finished corpus.
        DataError: if its manifest is damaged.
    """
    return read_manifest(directory, CORPUS.stages, CorpusManifest)


def unfinished_withdrawal(corpus: Path | str) -> Head | None:
    """Returns the claim of a withdrawal that may have changed files and is not in the manifest.

    Its settings are `reason` and `sites`, the lists as they were named; its input is the `key` of
    the workspace.

    Raises:
        DataError: if the claim or the manifest is damaged.
    """
    place = join_path(corpus, WITHDRAWAL)
    if not exists(join_path(place, CLAIM)):
        return None
    claim = read_head(place, CLAIM)
    in_manifest = read_json(join_path(corpus, MANIFEST), _Origin).withdrawals
    return None if claim.inputs.get("key") in {finished.key for finished in in_manifest} else claim


def options_of(withdrawal: Head) -> str:
    """Returns the options that an unfinished withdrawal's command had."""
    reason, sites = (withdrawal.settings[name] for name in ("reason", "sites"))
    return f"--sites {shlex.join(sites)} --reason {shlex.quote(reason)}"


class _Addition(Struct, frozen=True):
    lineage: tuple[str, ...] = ()


class _Withdrawn(Struct, frozen=True):
    key: str = ""
    manifest: str = ""


class _Origin(Struct, frozen=True):
    stage: str
    inputs: dict[str, str] = {}
    addition: _Addition = _Addition()
    selected_from: tuple[str, ...] = ()
    withdrawals: tuple[_Withdrawn, ...] = ()
    carried_withdrawals: int | None = None

    @property
    def former_manifests(self) -> list[str]:
        """Digests that the corpus had before its own withdrawals, which follow its source's."""
        all_carried = len(self.withdrawals) if self.stage == SELECT else 0
        carried = all_carried if self.carried_withdrawals is None else self.carried_withdrawals
        return [own.manifest for own in self.withdrawals[carried:] if own.manifest]


def lineage_of(corpus: Path | str) -> list[str]:
    """Returns the digests of a corpus and of those that it was made of by additions, in order.

    Raises:
        DataError: if its manifest is damaged.
    """
    origin = read_json(join_path(corpus, MANIFEST), _Origin)
    return [*origin.addition.lineage, digest_of_manifest(corpus)]


def generations_of(corpus: Path | str) -> dict[str, int]:
    """Returns the number of additions in a corpus and in each that it was, by digest.

    It was those that it was made of by additions, and itself before pages were withdrawn.

    Raises:
        DataError: if its manifest is damaged.
    """
    origin, lineage = read_json(join_path(corpus, MANIFEST), _Origin), lineage_of(corpus)
    return {digest: number for number, digest in enumerate(lineage)} | dict.fromkeys(
        origin.former_manifests, len(lineage) - 1
    )


def sources_of(corpus: Path | str) -> list[str]:
    """Returns the digests of a corpus and of all that it has pages of.

    These are the corpora that it was made of by additions or selections, and itself before pages
    were withdrawn. A selection of a selection that an earlier version made names the last one only.

    Raises:
        DataError: if its manifest is damaged.
    """
    origin = read_json(join_path(corpus, MANIFEST), _Origin)
    source = origin.inputs.get("corpus") if origin.stage == SELECT else None
    before = [withdrawal.manifest for withdrawal in origin.withdrawals if withdrawal.manifest]
    sources = [*origin.selected_from, *([] if source is None else [source]), *before]
    lineage = [*origin.addition.lineage, digest_of_manifest(corpus)]
    return list(dict.fromkeys([*sources, *lineage]))


def has_unique_lines(corpus: CorpusManifest) -> bool:
    """Returns whether each line is in one page, as all rules but `none` leave them.

    Masks make lines equal that differ in their personal data alone.
    """
    is_masked = any(rules.get("mask") for rules in corpus.rules.late)
    return corpus.rules.name != none().name and not is_masked


class PageFile(NamedTuple):
    """A file of pages.

    Attributes:
        path: path or address that is valid in every process of the job.
        size: size in bytes.
        digest: SHA-256; "" in a corpus of an earlier version.
    """

    path: str
    size: int
    digest: str


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
    codes = [language.code for language in all_languages()]
    pages = {code: count for code in codes if (count := counts[f"{code}/train"]) > 0}
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
    """Returns the Parquet files of one language and split, in order.

    Raises:
        ArtifactError: if they are others than the manifest of a corpus has.
    """
    return [file for corpus in corpora for file in _files_of_split(corpus, language, split)]


def _files_of_split(corpus: str, language: str, split: str) -> list[PageFile]:
    digests, prefix = digests_of(corpus), f"{PAGES_FOLDER}/{language}/{split}-"
    sizes = {
        join_path(PAGES_FOLDER, language, name): size
        for name, size in sizes_in(join_path(absolute(corpus), PAGES_FOLDER, language)).items()
        if name.startswith(f"{split}-") and name.endswith(".parquet")
    }
    _check_names(corpus, digests, prefix, [*sizes])
    return [
        PageFile(join_path(absolute(corpus), name), size, digests.get(name, ""))
        for name, size in sizes.items()
    ]


def page_texts(path: str | Path) -> Iterator[str]:
    """Yields the texts of a file, of which some pages are in memory at a time.

    Of a store's file no more is fetched than is read. One that is read whole is fetched faster
    whole (`local_copy`).
    """
    for batch in read_pages(path, _columns(["text"])):
        yield from batch["text"].to_pylist()


def page_urls(path: str, name: str | None = None) -> list[str]:
    """Returns the addresses of a file's pages; of a store's file no more is fetched.

    Args:
        path: the file.
        name: name of the file in messages, if the path is that of a copy.
    """
    batches = read_pages(path, _columns(["url"]), name=name)
    return [url for batch in batches for url in batch["url"].to_pylist()]


def checked_urls(path: str, digest: str) -> list[str]:
    """Returns the addresses of a file's pages; compares its digest, so that it is fetched whole."""
    with checked_copy(path, digest) as here:
        return page_urls(str(here), path)


def page_rows(path: str, columns: Sequence[str], digest: str) -> list[dict[str, Any]]:
    """Returns some columns of a file of pages, as rows."""
    with checked_copy(path, digest) as here:
        return read_table(here, _columns(columns), ranges=RANGES, name=path).to_pylist()


def whole_pages(corpus: str, name: str, digest: str) -> pa.Table:
    """Returns a file of kept or rejected pages, with all columns that `clean` writes."""
    path = join_path(corpus, name)
    with checked_copy(path, digest) as here:
        columns = WRITTEN
        if not name.startswith(f"{PAGES_FOLDER}/"):
            columns = REJECTED
        elif "cluster_size" in read_schema(here, path).names:
            columns = WRITTEN_WITH_CLUSTERS
        return read_table(here, columns, ranges=RANGES, name=path)


def write_pages(workspace: Workspace, directory: str, name: str, pages: pa.Table) -> None:
    """Writes a file of kept or rejected pages, as a whole or not at all, and leaves its digest."""
    with workspace.publish_output(directory, name) as unfinished:
        pq.write_table(pages, unfinished, compression="zstd")


def _columns(names: Sequence[str]) -> pa.Schema:
    return pa.schema([WRITTEN.field(name) for name in names])


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
    pages_of = {
        (code, reason): pages
        for code in codes
        for reason, pages in _of_language(
            join_path(corpus, "rejected", code),
            {reason for reason, chosen in languages_of.items() if code in chosen},
        )
    }
    return {
        reason: pa.concat_tables(
            [pages_of[code, reason] for code in chosen if (code, reason) in pages_of]
        )
        for reason, chosen in languages_of.items()
        if any((code, reason) in pages_of for code in chosen)
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

"""Writing token blocks: the files of pages of each shard, and the work item that writes one shard.

A shard's content follows from its list of page files alone, in their order, so any number of
workers and any retry write the same bytes. Nothing is grouped: a worker's memory holds one shard.
The record of a finished work item (`pipeline.beam.workspace`) is the shard's entry in the manifest.

The list of shards and the vocabulary lie in the output directory, so the job's graph stays small
for a whole crawl with mT5's vocabulary (4 MB).

Of a corpus that was added to (`mswitch clean --onto`), old blocks are carried over as they are.
Files of such a corpus only lose rows, and what is new lies in new files. So a block stays what it
was, with a list beside it of the pages that its files have no longer.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool
from msgspec import to_builtins
from msgspec.structs import replace

from data.files.atomic import copy_file, upload
from data.files.digests import digest_of_contents
from data.files.json_files import RelativePath, read_json
from data.files.paths import (
    absolute,
    exists,
    is_remote,
    join_path,
    local_copy,
    read_bytes,
    temporary_folder,
)
from data.tokens.block_files import BlockFile, LocalFiles, Readers
from data.tokens.blocks import TokenStream
from data.tokens.manifest import Shard, Skipped, TokenManifest
from data.tokens.shards import (
    TokenizedPage,
    extend_skipped,
    read_page_table,
    read_skipped,
    write_shard,
    write_skipped,
)
from data.tokens.tokenizer import MODEL_FILE, UNKNOWN
from pipeline.artifacts import TOKENS, read_head, read_manifest
from pipeline.beam.workspace import Workspace, pack_files
from pipeline.corpus.pages import (
    PageFile,
    checked_urls,
    generations_of,
    page_files,
    page_rows,
    training_pages,
)
from pipeline.errors import ArtifactError

PAGES_PER_CALL = 256  # TensorFlow's cost of a call is about 1 ms, that of a page 0.1 ms
SHARD_BYTES = 256_000_000  # of page files per shard; a shard must fit a worker's memory
SPLITS = ("train", "validation")
ADDED = re.compile(r"-added-(\d+)-\d+-of-\d+\.parquet\Z")
CARRIED = "carried"
CARRY = "carry"  # folder of the workspace


class PageShard(NamedTuple):
    """The files of pages that become one shard, and their digests."""

    name: RelativePath
    paths: tuple[str, ...]
    digests: tuple[str, ...]


class TokenLayout(NamedTuple):
    """How ids are written: their type, and which of them are byte pieces."""

    dtype: str
    byte_ids: tuple[int, int]


@dataclass(frozen=True)
class ShardRecord:
    """The record of a finished work item: what its shard holds."""

    shard: Shard

    def as_json(self) -> dict[str, Any]:
        """Returns the shard's entry in the manifest."""
        return to_builtins(self.shard)

    def counters(self) -> Mapping[str, int]:
        """Returns pages_tokenized, tokens and text_bytes."""
        shard = self.shard
        return {
            "pages_tokenized": shard.pages,
            "tokens": shard.tokens,
            "text_bytes": shard.text_bytes,
        }


@dataclass(frozen=True)
class WriteShard:
    """Encodes the pages of a shard and writes its blocks."""

    workspace: Workspace
    layout: TokenLayout

    name = "shards"

    def __call__(self, number: int) -> ShardRecord:
        """Writes one shard."""
        name, paths, digests = self.workspace.shards(list[PageShard])[number]
        encode = _sentencepiece(join_path(self.workspace.out, MODEL_FILE))
        files = zip(paths, digests, strict=True)
        pages = [page for file in files for page in _tokenize(*file, encode)]
        names = tuple("/".join(path.rsplit("/", 3)[1:]) for path in paths)
        return ShardRecord(replace(self._write(name, pages), page_files=names))

    def _write(self, name: str, pages: list[TokenizedPage]) -> Shard:
        """Writes a shard locally; for a store its two files are then uploaded."""
        out, layout = self.workspace.out, self.layout
        write = functools.partial(
            write_shard,
            name=name,
            pages=pages,
            dtype=np.dtype(layout.dtype),
            byte_ids=range(*layout.byte_ids),
        )
        if not is_remote(out):
            return write(Path(out), scratch=self.workspace.scratch)
        with temporary_folder() as directory:
            shard = write(Path(directory))
            for file in (shard.page_table, shard.records):
                upload(Path(directory, file.name), join_path(out, file.name))
        return shard


def _tokenize(path: str, digest: str, encode: Any) -> Iterator[TokenizedPage]:
    """Yields the pages of one file with their ids."""
    rows = page_rows(path, ["url", "text"], digest)
    for start in range(0, len(rows), PAGES_PER_CALL):
        chunk = rows[start : start + PAGES_PER_CALL]
        texts = [row["text"] for row in chunk]
        for row, text, tokens in zip(chunk, texts, encode(texts), strict=True):
            yield TokenizedPage(row["url"], tokens, len(text.encode()), len(text))


@functools.lru_cache(maxsize=1)
def _sentencepiece(path: str) -> Any:
    """Returns the loaded vocabulary, once per worker; CLD3 must not be loaded in this process."""
    from pipeline.tokens.sentencepiece_op import SentencePieceOp

    return SentencePieceOp(read_bytes(path))


class Onto(NamedTuple):
    """Token blocks that others are made of.

    Attributes:
        directory: their directory, as every process resolves it.
        manifest: their manifest.
        generation: number of additions of their corpus.
        corpus: directory of the new corpus.
    """

    directory: str
    manifest: TokenManifest
    generation: int
    corpus: str

    def shards_to_carry(self, languages: Sequence[str]) -> list[Shard]:
        """Returns the shards of languages that the new corpus has, in order."""
        return [
            shard
            for code in languages
            for entry in self.manifest.languages.get(code, {}).values()
            for shard in entry.shards
        ]

    def files_added(self, files: Mapping[str, Sequence[PageFile]]) -> dict[str, list[PageFile]]:
        """Returns the files that the old blocks were not made of, by language and split.

        All files of a language that they do not have: blocks hold languages with training pages.
        """
        return {
            name: [
                file
                for file in of_split
                if name.partition("/")[0] not in self.manifest.languages
                or generation_of(file.path) > self.generation
            ]
            for name, of_split in files.items()
        }


def generation_of(path: str) -> int:
    """Returns the number of the addition that wrote a file of a corpus."""
    match = ADDED.search(path)
    return int(match[1]) if match else 0


def token_blocks_to_add_to(directory: str, corpora: Sequence[str], vocabulary: str) -> Onto:
    """Returns the token blocks to add to.

    Args:
        directory: their directory.
        corpora: corpora that were named.
        vocabulary: checksum of the vocabulary's model.

    Raises:
        ArtifactError: if the corpus was not made of theirs, or they have another vocabulary.
    """
    manifest = read_manifest(directory, TOKENS.stages, TokenManifest)
    if manifest.vocabulary.sha256 != vocabulary:
        raise ArtifactError(
            f"{directory} was named by --onto and has another vocabulary than --vocabulary; name "
            "the one that its tokens were made with."
        )
    inputs = read_head(directory).inputs
    if len(corpora) != 1 or "corpus_1" in inputs:
        raise ArtifactError(
            f"--onto {directory} was given with {len(corpora)} corpora, and adds the pages of one "
            "corpus to tokens of one; tokenize without --onto."
        )
    (corpus,) = corpora
    generations = generations_of(corpus)
    if inputs.get("corpus_0") not in generations:
        raise ArtifactError(
            f"{directory} was named by --onto, and its tokens are not of a corpus that {corpus} "
            "was made of by clean --onto, or was before pages were withdrawn; tokenize without "
            "--onto."
        )
    shards = (
        shard
        for splits in manifest.languages.values()
        for entry in splits.values()
        for shard in entry.shards
    )
    if any(shard.pages and not shard.page_files for shard in shards):
        raise ArtifactError(
            f"{directory} does not record which files its pages are from; tokenize without --onto."
        )
    generation = generations[inputs["corpus_0"]]
    return Onto(absolute(directory), manifest, generation, absolute(corpus))


@dataclass(frozen=True)
class CarryShard:
    """Copies an old shard, and lists its pages that the corpus has no longer."""

    workspace: Workspace
    directory: str
    corpus: str
    dtype: str
    vocabulary_size: int
    byte_ids: tuple[int, int]

    name = CARRIED

    def __call__(self, number: int) -> ShardRecord:
        """Carries one shard."""
        shard = _shards_to_carry(self.workspace.directory)[number]
        for file in (shard.records, shard.page_table):
            target = join_path(self.workspace.out, file.name)
            copy_file(self._path(file.name), target, self.workspace.scratch)
        with self._local(shard.page_table) as files:
            table = read_page_table(files, shard)
        with self._local(shard.skip_list) as files:
            skipped = read_skipped(files, shard)
        skip = ~_are_among(table["url"], self._urls(shard))
        skip[skipped["page"].to_numpy()] = True
        rows = skipped if skip.sum() == len(skipped) else extend_skipped(skipped, table, skip)
        return ShardRecord(self._with_list(shard, table, rows) if len(rows) else shard)

    def _path(self, name: str) -> str:
        return join_path(self.directory, name)

    def _urls(self, shard: Shard) -> list[str]:
        """Returns the addresses that the files of a shard still hold."""
        digests = _digests_of_files(self.workspace.directory)
        files = ((join_path(self.corpus, name), digests.get(name)) for name in shard.page_files)
        return [
            url
            for path, digest in files
            if digest or exists(path)
            for url in checked_urls(path, digest or "")
        ]

    def _with_list(self, shard: Shard, table: pa.Table, rows: pa.Table) -> Shard:
        """Writes the list of skipped pages; returns the shard with it."""
        unknown, of_bytes = self._kinds_of_tokens(shard, rows)
        name = f"{shard.name}.skipped.parquet"
        with self.workspace.publish(join_path(self.workspace.out, name)) as unfinished:
            write_skipped(unfinished, rows)
            digest = digest_of_contents(unfinished)
        sums = {
            count: int(table[count].to_numpy()[rows["page"].to_numpy()].sum())
            for count in ("tokens", "text_bytes", "characters")
        }
        skipped = Skipped(
            pages=len(rows),
            unknown_tokens=unknown,
            byte_tokens=of_bytes,
            times=max(rows["time"].to_pylist()),
            sha256=digest,
            **sums,
        )
        return replace(shard, skipped=skipped)

    def _kinds_of_tokens(self, shard: Shard, rows: pa.Table) -> tuple[int, int]:
        """Returns the numbers of unknown tokens and of byte tokens on skipped pages."""
        unknown = of_bytes = 0
        with self._local(shard.records) as files:
            readers = Readers(files)
            whole = [replace(shard, skipped=None)]
            stream = TokenStream(readers, whole, np.dtype(self.dtype), self.vocabulary_size)
            columns = (rows[name].to_pylist() for name in ("first", "tokens"))
            for first, tokens in zip(*columns, strict=True):
                ids = stream.read(first, tokens) if tokens else np.empty(0, np.int32)
                unknown += int(np.count_nonzero(ids == UNKNOWN))
                begin, end = self.byte_ids
                of_bytes += int(np.count_nonzero((ids >= begin) & (ids < end)))
        return unknown, of_bytes

    @contextmanager
    def _local(self, file: BlockFile | None) -> Iterator[LocalFiles]:
        """Yields access to a file of the old blocks on this host."""
        if file is None or not is_remote(self.directory):
            yield LocalFiles(Path(self.directory))
            return
        with temporary_folder() as directory, local_copy(self._path(file.name)) as here:
            target = Path(directory, file.name)
            target.parent.mkdir(parents=True)
            target.symlink_to(here)
            yield LocalFiles(Path(directory))


def _are_among(urls: pa.ChunkedArray, others: Sequence[str]) -> Bool[np.ndarray, " pages"]:
    values = pa.array(others, pa.string())
    are_in = pc.is_in(urls, value_set=values)  # pyright: ignore[reportAttributeAccessIssue]
    return are_in.to_numpy(zero_copy_only=False).astype(bool)


def leave_shards_to_carry(
    workspace: Workspace, shards: Sequence[Shard], digests: Mapping[str, str]
) -> None:
    """Leaves the list of shards to carry for the workers, and the digests of the corpus's files."""
    workspace.leave(CARRY, "shards", to_builtins(list(shards)))
    workspace.leave(CARRY, "digests", dict(digests))


@functools.lru_cache(maxsize=1)
def _shards_to_carry(directory: str) -> list[Shard]:
    return read_json(join_path(directory, CARRY, "shards.json"), list[Shard])


@functools.lru_cache(maxsize=1)
def _digests_of_files(directory: str) -> dict[str, str]:
    return read_json(join_path(directory, CARRY, "digests.json"), dict[str, str])


def split_files(corpora: Sequence[str]) -> dict[str, list[PageFile]]:
    """Returns the files of pages, language by language and split by split (`sw/train`)."""
    return {
        f"{language}/{split}": page_files(corpora, language, split)
        for language in training_pages(corpora)
        for split in SPLITS
    }


def page_shards(files: Mapping[str, Sequence[PageFile]]) -> list[PageShard]:
    """Returns the files of each shard, from the files of each language and split."""
    shards = []
    for name, of_split in files.items():
        groups = pack_files(of_split, SHARD_BYTES) or [
            []
        ]  # a split without pages has one empty shard
        for number, group in enumerate(groups):
            paths = tuple(file.path for file in group)
            digests = tuple(file.digest for file in group)
            of_split = f"{name}-{number:05d}-of-{len(groups):05d}"
            shards.append(PageShard(of_split, paths, digests))
    return shards


def added_shards(files: Mapping[str, Sequence[PageFile]], onto: Onto) -> list[PageShard]:
    """Returns the files of each new shard; those of a language with blocks follow these."""
    named: dict[str, Sequence[PageFile]] = {}
    for name, of_split in files.items():
        if name.partition("/")[0] not in onto.manifest.languages:
            named[name] = of_split
        elif of_split:
            number = max(generation_of(file.path) for file in of_split)
            named[f"{name}-added-{number:03d}"] = of_split
    return page_shards(named)

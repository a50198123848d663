"""`mswitch tokenize`: clean pages to token blocks, on Beam, by tensorflow-text's SentencePiece op.

Blocks are written for every language with training pages, both splits. A language's files of pages
are its shards' boundaries, so the output does not depend on the workers. The manifest holds counts
(the tokenizer's fertility by language follows from them: tokens, bytes, characters, pages, unknown
and byte tokens), the vocabulary's digest and a checksum a shard; the vocabulary itself is copied
beside the blocks. A job that was cut short goes on after its last finished shard.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from rich.console import Console

from data.token_blocks import describe, token_dtype
from data.tokenizer import MODEL_FILE
from pipeline import corpus
from pipeline.arguments import Tokenize
from pipeline.artifacts import (
    ArtifactError,
    Claim,
    claim,
    digest_of_contents,
    digest_of_manifest,
    finish,
    read_manifest,
)
from pipeline.beam_options import pipeline_for, pipeline_options
from pipeline.transforms.write_blocks import (
    PageShard,
    TokenLayout,
    WriteTokenBlocks,
    fragment,
    read_fragment,
)

SHARD_BYTES = 256_000_000  # of page files a shard; a shard must fit a worker's memory
SPLITS = ("train", "validation")
VOCABULARY_FACTS = ("vocabulary_size", "vocabulary_rows", "first_sentinel", "byte_ids", "sha256")


def run(arguments: Tokenize) -> None:
    """Writes token blocks, or finds them finished."""
    vocabulary = read_vocabulary(arguments.vocabulary)
    inputs = corpus.digests(arguments.corpus)
    inputs["vocabulary"] = digest_of_manifest(arguments.vocabulary)
    console = Console(stderr=True)
    if claim(arguments.out, "tokenize", {}, inputs) is Claim.FINISHED:
        console.print(f"tokenize: {arguments.out} is finished.")
        return
    shards = page_shards(arguments.corpus)
    done = sum(fragment(arguments.out, shard.name).exists() for shard in shards)
    layout = TokenLayout(
        str(token_dtype(vocabulary["vocabulary_size"]).str), tuple(vocabulary["byte_ids"])
    )
    with console.status(f"tokenize: {len(shards) - done} shards of {len(shards)}"):
        write(shards, arguments.vocabulary / MODEL_FILE, arguments.out, layout, arguments.beam)
    shutil.copy(arguments.vocabulary / MODEL_FILE, arguments.out / MODEL_FILE)
    languages = collect(shards, arguments.out)
    body = {
        "token_dtype": layout.dtype,
        "vocabulary": {key: vocabulary[key] for key in VOCABULARY_FACTS},
        "languages": languages,
    }
    finish(arguments.out, "tokenize", {}, inputs, body)
    for shard in shards:
        fragment(arguments.out, shard.name).unlink()
    tokens = sum(entry["train"]["tokens"] for entry in languages.values())
    console.print(
        f"tokenize: {tokens:,} training tokens in {len(languages)} languages, {arguments.out}"
    )


def read_vocabulary(directory: Path) -> dict[str, Any]:
    """Returns the vocabulary's manifest.

    Raises:
        ArtifactError: the model is not the one that the manifest describes.
    """
    manifest, model = read_manifest(directory, "vocabulary"), directory / MODEL_FILE
    if not model.exists() or digest_of_contents(model) != manifest["sha256"]:
        raise ArtifactError(
            f"{model} should be the model that {directory}/manifest.json describes and is missing "
            "or another (checksum); make the vocabulary again."
        )
    return manifest


def page_shards(corpora: Sequence[Path]) -> list[PageShard]:
    """Returns the files of each shard, language by language and split by split."""
    return [
        shard
        for language in corpus.training_pages(corpora)
        for split in SPLITS
        for shard in _shards(f"{language}/{split}", corpus.page_files(corpora, language, split))
    ]


def _shards(prefix: str, paths: Sequence[Path]) -> list[PageShard]:
    groups = list(_fill(paths)) or [()]  # a split without pages has one empty shard
    return [
        PageShard(f"{prefix}-{number:05d}-of-{len(groups):05d}", group)
        for number, group in enumerate(groups)
    ]


def _fill(paths: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    """Yields runs of files that together are just below the size of a shard, or one larger file."""
    group: list[Path] = []
    size = 0
    for path in paths:
        if group and size + path.stat().st_size > SHARD_BYTES:
            yield tuple(group)
            group, size = [], 0
        group.append(path)
        size += path.stat().st_size
    if group:
        yield tuple(group)


def write(
    shards: Sequence[PageShard],
    model: Path,
    out: Path,
    layout: TokenLayout,
    beam_options: tuple[str, ...],
) -> None:
    """Runs the job: blocks of every shard that is not finished."""
    with pipeline_for(pipeline_options(beam_options)) as job:
        _ = (
            job
            | "Shards" >> beam.Create(shards)
            | "WriteTokenBlocks" >> WriteTokenBlocks(model.read_bytes(), out, layout)
        )


def collect(shards: Sequence[PageShard], out: Path) -> dict[str, Any]:
    """Returns the manifest's entries of all languages, in the order of their codes."""
    finished = [read_fragment(out, shard.name) for shard in shards]
    languages = sorted({shard.name.split("/")[0] for shard in finished})
    return {
        language: {
            split: describe(s for s in finished if s.name.startswith(f"{language}/{split}-"))
            for split in SPLITS
        }
        for language in languages
    }

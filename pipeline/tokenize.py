"""`mswitch tokenize`: clean pages to token blocks, on Beam, by tensorflow-text's SentencePiece op.

Blocks are written for every language with training pages, both splits. A language's files of pages
are its shards' boundaries, so the output does not depend on the workers. The manifest holds counts
(the tokenizer's fertility by language follows from them: tokens, bytes, characters, pages, unknown
and byte tokens), the vocabulary's digest and a checksum a shard; the vocabulary itself is copied
beside the blocks. A job that was cut short goes on after its last finished shard.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from data.tokens.blocks import manifest_entry, token_dtype
from data.tokens.tokenizer import MODEL_FILE
from pipeline import storage
from pipeline.arguments import Tokenize
from pipeline.artifacts.claims import (
    SCHEMA_VERSION,
    Claim,
    claim,
    code_version,
    digest_of_manifest,
    finish,
    read_manifest,
)
from pipeline.artifacts.digests import digest_of_bytes, digest_of_value
from pipeline.beam import job
from pipeline.beam.options import check_workers_reach, pipeline_options, use
from pipeline.corpus.pages import PageFile, corpus_digests, page_files, training_pages
from pipeline.errors import ArtifactError
from pipeline.tokens.write_shards import PageShard, TokenLayout, Workspace, WriteTokenBlocks

SHARD_BYTES = 256_000_000  # of page files a shard; a shard must fit a worker's memory
SPLITS = ("train", "validation")
VOCABULARY_FACTS = ("vocabulary_size", "vocabulary_rows", "first_sentinel", "byte_ids", "sha256")


def run(arguments: Tokenize) -> None:
    """Writes token blocks, or finds them finished."""
    options = pipeline_options(arguments.beam)
    use(options)
    check_workers_reach(options, [*arguments.corpus, arguments.out])
    vocabulary, model = read_vocabulary(arguments.vocabulary)
    inputs = corpus_digests(arguments.corpus)
    inputs["vocabulary"] = digest_of_manifest(arguments.vocabulary)
    console = Console(stderr=True)
    out = storage.absolute(arguments.out)
    shards = page_shards(arguments.corpus)
    workspace = Workspace(out, key_of(shards, model))
    if claim(out, "tokenize", {}, inputs) is Claim.FINISHED:
        workspace.clear()
        console.print(f"tokenize: {arguments.out} is finished.")
        return
    workspace.begin(shards, model)
    done = sum(workspace.is_done(shard.name) for shard in shards)
    layout = TokenLayout(
        str(token_dtype(vocabulary["vocabulary_size"]).str), tuple(vocabulary["byte_ids"])
    )
    with console.status(f"tokenize: {len(shards) - done} shards of {len(shards)}"):
        write(len(shards), workspace, layout, options)
    check_complete(shards, workspace)
    languages = collect(shards, workspace)
    body = {
        "token_dtype": layout.dtype,
        "vocabulary": {key: vocabulary[key] for key in VOCABULARY_FACTS},
        "languages": languages,
    }
    finish(out, "tokenize", {}, inputs, body)
    workspace.clear()
    tokens = sum(entry["train"]["tokens"] for entry in languages.values())
    console.print(
        f"tokenize: {tokens:,} training tokens in {len(languages)} languages, {arguments.out}"
    )


def key_of(shards: Sequence[PageShard], model: bytes) -> str:
    """Returns what shards must have in common to be of one job."""
    return digest_of_value((code_version(), SCHEMA_VERSION, digest_of_bytes(model), shards))[:16]


def read_vocabulary(directory: str) -> tuple[dict[str, Any], bytes]:
    """Returns the vocabulary's manifest and model.

    Raises:
        ArtifactError: the model is not the one that the manifest describes.
    """
    manifest, path = read_manifest(directory, "vocabulary"), storage.join(directory, MODEL_FILE)
    model = storage.read_bytes(path) if storage.exists(path) else b""
    if digest_of_bytes(model) != manifest["sha256"]:
        raise ArtifactError(
            f"{path} should be the model that {directory}/manifest.json describes and is missing "
            "or another (checksum); make the vocabulary again."
        )
    return manifest, model


def page_shards(corpora: Sequence[str]) -> list[PageShard]:
    """Returns the files of each shard, language by language and split by split."""
    return [
        shard
        for language in training_pages(corpora)
        for split in SPLITS
        for shard in _shards(f"{language}/{split}", page_files(corpora, language, split))
    ]


def _shards(prefix: str, files: Sequence[PageFile]) -> list[PageShard]:
    groups = list(_fill(files)) or [()]  # a split without pages has one empty shard
    return [
        PageShard(f"{prefix}-{number:05d}-of-{len(groups):05d}", group)
        for number, group in enumerate(groups)
    ]


def _fill(files: Sequence[PageFile]) -> Iterator[tuple[str, ...]]:
    """Yields runs of files that together are just below the size of a shard, or one larger file."""
    group: list[str] = []
    size = 0
    for file in files:
        if group and size + file.size > SHARD_BYTES:
            yield tuple(group)
            group, size = [], 0
        group.append(file.path)
        size += file.size
    if group:
        yield tuple(group)


def write(shards: int, workspace: Workspace, layout: TokenLayout, options: PipelineOptions) -> None:
    """Runs the job: blocks of every shard that is not finished.

    Raises:
        DataError: a worker met something that its user can mend, such as a full disk.
    """
    with job.running(options) as pipeline:
        build(shards, workspace, layout, pipeline)


def build(shards: int, workspace: Workspace, layout: TokenLayout, pipeline: beam.Pipeline) -> None:
    """Puts the steps into the pipeline; the numbers of the shards are made by a worker."""
    _ = (
        pipeline
        | beam.Create([shards])
        | "Number" >> beam.FlatMap(lambda count: range(count))
        | "WriteTokenBlocks" >> WriteTokenBlocks(workspace, layout)
    )


def check_complete(shards: Sequence[PageShard], workspace: Workspace) -> None:
    """Checks that a job that ended well has done all its work, whatever the runner says.

    Raises:
        ArtifactError: shards are not there.
    """
    missing = sum(not workspace.is_done(shard.name) for shard in shards)
    if missing:
        raise ArtifactError(
            f"The runner says that the job ended well, but {missing} of {len(shards)} shards of "
            f"{workspace.out} are not there; do the workers reach it? Run the same command again."
        )


def collect(shards: Sequence[PageShard], workspace: Workspace) -> dict[str, Any]:
    """Returns the manifest's entries of all languages, in the order of their codes."""
    finished = [workspace.finished(shard.name) for shard in shards]
    languages = sorted({shard.name.split("/")[0] for shard in finished})
    return {
        language: {
            split: manifest_entry(s for s in finished if s.name.startswith(f"{language}/{split}-"))
            for split in SPLITS
        }
        for language in languages
    }

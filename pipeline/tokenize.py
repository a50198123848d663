"""`mswitch tokenize`: clean pages to token blocks, on Beam, by tensorflow-text's SentencePiece op.

Blocks are written for every language with training pages, both splits. A language's number of
shards follows from its size alone, so the output does not depend on the workers. Afterwards the
manifest holds counts (the tokenizer's fertility by language follows from them), the vocabulary's
digest and a checksum a shard; the vocabulary itself is copied beside the blocks.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from rich.console import Console

from data.token_blocks import Shard, describe, token_dtype
from data.tokenizer import MODEL_FILE
from pipeline import corpus
from pipeline.arguments import Tokenize
from pipeline.artifacts import (
    Claim,
    claim,
    digest_of_manifest,
    finish,
    read_json,
    read_manifest,
    write_json,
)
from pipeline.beam_options import pipeline_options
from pipeline.transforms.write_blocks import PageFile, WriteTokenBlocks

SHARD_BYTES = 256_000_000  # of page files a shard; a shard must fit a worker's memory
SPLITS = ("train", "validation")
VOCABULARY_FACTS = ("vocabulary_size", "vocabulary_rows", "first_sentinel", "sha256")
SHARDS = "shards.json"  # only while the stage runs


def run(arguments: Tokenize) -> None:
    """Writes token blocks, or finds them finished."""
    vocabulary = read_manifest(arguments.vocabulary, "vocabulary")
    inputs = corpus.digests(arguments.corpus)
    inputs["vocabulary"] = digest_of_manifest(arguments.vocabulary)
    console = Console(stderr=True)
    status = claim(arguments.out, "tokenize", {}, inputs)
    if status is Claim.FINISHED:
        console.print(f"tokenize: {arguments.out} is finished.")
        return
    if status is Claim.UNFINISHED:
        _clear(arguments.out)
    files = page_files(arguments.corpus)
    dtype = str(token_dtype(vocabulary["vocabulary_size"]).str)
    with console.status(f"tokenize: {len(files)} files of pages"):
        write(files, arguments.vocabulary / MODEL_FILE, arguments.out, dtype, arguments.beam)
    shutil.copy(arguments.vocabulary / MODEL_FILE, arguments.out / MODEL_FILE)
    languages = read_json(arguments.out / SHARDS)
    body = {
        "token_dtype": dtype,
        "vocabulary": {key: vocabulary[key] for key in VOCABULARY_FACTS},
        "languages": languages,
    }
    finish(arguments.out, "tokenize", {}, inputs, body)
    (arguments.out / SHARDS).unlink()
    tokens = sum(entry["train"]["tokens"] for entry in languages.values())
    console.print(
        f"tokenize: {tokens:,} training tokens in {len(languages)} languages, {arguments.out}"
    )


def page_files(corpora: Sequence[Path]) -> list[PageFile]:
    """Returns every file of pages with its language, split and number of shards."""
    files: list[PageFile] = []
    for language in corpus.training_pages(corpora):
        for split in SPLITS:
            paths = corpus.page_files(corpora, language, split)
            shards = max(1, round(sum(path.stat().st_size for path in paths) / SHARD_BYTES))
            files += [PageFile(path, language, split, shards) for path in paths]
    return files


def write(
    files: Sequence[PageFile], model: Path, out: Path, dtype: str, beam_options: tuple[str, ...]
) -> None:
    """Runs the job: blocks of every file, and the list of shards beside them."""
    with beam.Pipeline(options=pipeline_options(beam_options)) as job:
        shards = (
            job
            | "Files" >> beam.Create(files)
            | "WriteTokenBlocks" >> WriteTokenBlocks(model.read_bytes(), out, dtype)
        )
        listed = shards | "List" >> beam.combiners.ToList()
        _ = listed | "WriteList" >> beam.Map(write_list, out)


def write_list(shards: Sequence[Shard], out: Path) -> None:
    """Writes the manifest's entries of all languages, in the order of their codes."""
    languages = sorted({shard.name.split("/")[0] for shard in shards})
    entries = {
        language: {
            split: describe(s for s in shards if s.name.startswith(f"{language}/{split}-"))
            for split in SPLITS
        }
        for language in languages
    }
    write_json(out / SHARDS, entries)


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    (directory / SHARDS).unlink(missing_ok=True)

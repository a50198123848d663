"""`mswitch tokenize`: clean pages to token blocks, on Beam, by tensorflow-text's SentencePiece op.

Blocks are written for every language with training pages, both splits. Shards begin and end with a
language's files of pages, so the output does not depend on the workers. The manifest holds counts
(tokens, bytes, characters, pages, unknown and byte tokens, from which the tokenizer's fertility per
language follows), the vocabulary's digest and one checksum per shard; the vocabulary is copied
beside the blocks. An interrupted job resumes after its last finished shard.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from msgspec import to_builtins

from data.files.digests import digest_of_bytes
from data.files.locks import FOLDER
from data.files.paths import absolute, directories_in, join_path
from data.tokens.manifest import Shard, VocabularyFacts, VocabularyManifest
from data.tokens.shards import manifest_entry, token_dtype
from data.tokens.tokenizer import MODEL_FILE
from pipeline.arguments import Tokenize
from pipeline.artifacts.claims import SCHEMA_VERSION, Claim
from pipeline.artifacts.intent import Intent, claimed, finish
from pipeline.beam import job
from pipeline.beam.work_items import DoWork, WorkNumbers
from pipeline.beam.workspace import WORK, Workspace, clear, workspace_key
from pipeline.terminal import Terminal, print_end
from pipeline.tokens.checks import check_pages
from pipeline.tokens.onto import CARRIED, CarryShard, Onto, leave_carried
from pipeline.tokens.page_shards import SPLITS
from pipeline.tokens.request import TokenRequest, resolved
from pipeline.tokens.write_shards import PageShard, TokenLayout, WriteShard

# Raised when unfinished shards of an earlier version may not be resumed: other ids or another cut.
VERSION = 2


def intents(arguments: Tokenize) -> list[Intent]:
    """Returns what the command would do."""
    return [resolved(arguments).intent]


def run(arguments: Tokenize) -> None:
    """Writes token blocks, unless they are finished.

    Raises:
        ArtifactError: if files of the corpora are missing.
    """
    request = resolved(arguments)
    shards, vocabulary, out = request.shards, request.vocabulary, absolute(arguments.out)
    console = Terminal(stderr=True)
    with claimed(request.intent) as found:
        if found is Claim.FINISHED:
            clear(out)
            return
        workspace = begin(out, shards, request)
        dtype = str(token_dtype(vocabulary.vocabulary_size).str)
        step = WriteShard(workspace, TokenLayout(dtype, vocabulary.byte_ids))
        unfinished = len(shards) - len(workspace.done(step.step))
        with console.status(f"tokenize: {unfinished} shards of {len(shards)}"):
            write(step, len(shards), request.options)
        if request.onto is not None:
            carry(request, request.onto, workspace, step.layout)
        languages = collect(
            [
                *workspace.records(step.step, len(shards), Shard),
                *workspace.records(CARRIED, len(request.carried), Shard),
            ]
        )
        check_pages(languages, arguments.corpus)
        body = {
            "token_dtype": dtype,
            "vocabulary": facts_of(vocabulary),
            "languages": languages,
        }
        finish(request.intent, body)
        clear(out)
        print_end(
            "tokenize",
            f"{described(languages)}, in {arguments.out}",
            cautions(languages),
            ("pretrain", "--recipe=mt5-laptop", "--tokens", arguments.out, "--out", "runs/mt5"),
        )


def described(languages: Mapping[str, Any]) -> str:
    """Returns the numbers of token blocks in words, from the manifest's entries."""
    train, held_out = (
        {
            name: sum(entry[split][name] for entry in languages.values())
            for name in ("tokens", "text_bytes", "unknown_tokens", "byte_tokens")
        }
        for split in SPLITS
    )
    tokens = max(train["tokens"], 1)
    return (
        f"{train['tokens']:,} training and {held_out['tokens']:,} held-out tokens in "
        f"{len(languages)} languages, {tokens / max(train['text_bytes'], 1):.3f} per byte, "
        f"{train['unknown_tokens'] / tokens:.2%} unknown, {train['byte_tokens'] / tokens:.2%} bytes"
    )


def cautions(languages: Mapping[str, Any]) -> Iterator[str]:
    """Yields what to know before training on token blocks, from the manifest's entries."""
    without = [code for code, entry in languages.items() if not entry["validation"]["tokens"]]
    if len(without) == len(languages):
        yield (
            "no page is held out, so no run can be evaluated; clean into another directory with "
            "--validation-minimum 10 or with published validation files, or train with --set "
            "evaluate_every=0."
        )
    elif without:
        yield f"no page is held out in {len(without)} languages: {', '.join(without)}."


def begin(out: str, shards: Sequence[PageShard], request: TokenRequest) -> Workspace:
    """Returns the job's workspace, with the list of shards and the vocabulary for its workers.

    Blocks of an unfinished job with another key are removed.
    """
    model, carried = request.model, request.carried
    workspace = Workspace(out, key_of(shards, model, carried))
    workspace.forget_stale(name for name in directories_in(out) if name not in (WORK, FOLDER))
    workspace.write_shards(shards)
    leave_carried(workspace, carried)
    with workspace.publish(join_path(out, MODEL_FILE)) as unfinished:
        unfinished.write_bytes(model)
    return workspace


def key_of(shards: Sequence[PageShard], model: bytes, carried: Sequence[Shard] = ()) -> str:
    """Returns the digest of everything that finished shards of one job have in common."""
    stay = to_builtins(carried)
    return workspace_key(VERSION, SCHEMA_VERSION, digest_of_bytes(model), shards, stay)


def facts_of(vocabulary: VocabularyManifest) -> dict[str, Any]:
    """Returns what the manifest of token blocks repeats of a vocabulary's manifest."""
    return {name: getattr(vocabulary, name) for name in VocabularyFacts.__struct_fields__}


def write(step: WriteShard, shards: int, options: PipelineOptions) -> None:
    """Runs the job: writes every shard that is not finished.

    Raises:
        DataError: if a worker met a condition that the user can fix, such as a full disk.
    """
    with job.running(options) as pipeline:
        _ = pipeline | WorkNumbers(shards) | "WriteTokenBlocks" >> DoWork(step)


def carry(request: TokenRequest, onto: Onto, workspace: Workspace, layout: TokenLayout) -> None:
    """Runs the job that copies the blocks that stay, and lists their pages that left."""
    ids = request.vocabulary.vocabulary_size
    step = CarryShard(workspace, onto.directory, onto.corpus, layout.dtype, ids, layout.byte_ids)
    with job.running(request.options) as pipeline:
        _ = pipeline | WorkNumbers(len(request.carried)) | "CarryTokenBlocks" >> DoWork(step)


def collect(shards: Sequence[Shard]) -> dict[str, Any]:
    """Returns the manifest's entries of all languages, in the order of their codes."""
    languages = sorted({shard.name.split("/")[0] for shard in shards})
    return {
        language: {
            split: manifest_entry(s for s in shards if s.name.startswith(f"{language}/{split}-"))
            for split in SPLITS
        }
        for language in languages
    }

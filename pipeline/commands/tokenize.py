"""`mswitch tokenize`: clean pages to token blocks, on Beam, by tensorflow-text's SentencePiece op.

Blocks are written for every language with training pages, both splits. Shards begin and end with a
language's files of pages, so the output does not depend on the workers. The manifest holds counts
(tokens, bytes, characters, pages, unknown and byte tokens, from which the tokenizer's fertility per
language follows), the vocabulary's digest and one checksum per shard; the vocabulary is copied
beside the blocks. An interrupted job resumes after its last finished shard.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from msgspec import to_builtins

from data.files.digests import digest_of_bytes
from data.files.locks import FOLDER
from data.files.paths import absolute, directories_in, exists, join_path, read_bytes
from data.languages import UNDETERMINED
from data.tokens.manifest import Shard, VocabularyFacts, VocabularyManifest
from data.tokens.shards import manifest_entry, token_dtype
from data.tokens.tokenizer import MODEL_FILE, check_character_maps
from pipeline.arguments import Tokenize
from pipeline.artifacts import SCHEMA_VERSION, digest_of_manifest, read_manifest
from pipeline.beam.job import do_items
from pipeline.beam.options import check_workers_reach, pipeline_options, use_store_options
from pipeline.beam.workspace import WORK, Workspace, clear, workspace_key
from pipeline.corpus.pages import (
    corpus_digests,
    corpus_read,
    digests_of,
    read_corpus,
    training_pages,
)
from pipeline.errors import ArtifactError
from pipeline.first_checks import check_vocabulary
from pipeline.stage import Identity, Intent, Outcome, Reading, run_stage
from pipeline.terminal import Terminal
from pipeline.tokens.opened_blocks import check_pages
from pipeline.tokens.write import (
    CARRIED,
    SPLITS,
    CarryShard,
    Onto,
    PageShard,
    TokenLayout,
    WriteShard,
    added_shards,
    leave_shards_to_carry,
    page_shards,
    split_files,
    token_blocks_to_add_to,
)


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """A job whose arguments passed all checks.

    Attributes:
        options: options of the Beam job.
        vocabulary: manifest of the vocabulary.
        model: its SentencePiece model.
        shards: files of each shard to write.
        onto: token blocks that are added to; None for none.
        carried: their shards that stay.
        intent: what the job would do.
    """

    options: PipelineOptions
    vocabulary: VocabularyManifest
    model: bytes
    shards: Sequence[PageShard]
    onto: Onto | None
    carried: Sequence[Shard]
    intent: Intent


def checked_request(arguments: Tokenize) -> TokenRequest:
    """Returns the job that the arguments name.

    Raises:
        ArtifactError: if there is no such corpus or vocabulary.
        DataError: if workers do not reach them.
    """
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    places = [] if arguments.onto is None else [arguments.onto]
    check_workers_reach(options, [*arguments.corpus, arguments.out, *places])
    vocabulary, model = read_vocabulary(arguments.vocabulary)
    inputs = corpus_digests(arguments.corpus)
    inputs["vocabulary"] = digest_of_manifest(arguments.vocabulary)
    files = split_files(arguments.corpus)
    onto, carried = None, []
    if arguments.onto is not None:
        onto = token_blocks_to_add_to(arguments.onto, arguments.corpus, vocabulary.sha256)
        inputs["onto"] = digest_of_manifest(arguments.onto)
        carried = onto.shards_to_carry([*training_pages(arguments.corpus)])
        files = onto.files_added(files)
    shards = page_shards(files) if onto is None else added_shards(files, onto)
    intent = Intent(
        stage="tokenize",
        reads=[
            corpus_read(arguments.corpus, [*itertools.chain.from_iterable(files.values())]),
            Reading("vocabulary", arguments.vocabulary, 1, len(model)),
            *(
                [Reading("tokens", onto.directory, 2 * len(carried), None, "which stay")]
                if onto
                else []
            ),
        ],
        writes=f"{len(shards):,} shards of token blocks, {MODEL_FILE} and manifest.json",
        out=arguments.out,
        identity=Identity({}, inputs),
        work=f"tokens of {vocabulary.vocabulary_size:,} ids",
    )
    return TokenRequest(
        options=options,
        vocabulary=vocabulary,
        model=model,
        shards=shards,
        onto=onto,
        carried=carried,
        intent=intent,
    )


def read_vocabulary(directory: str) -> tuple[VocabularyManifest, bytes]:
    """Returns the vocabulary's manifest and model.

    Raises:
        ArtifactError: if the model is not the one that the manifest describes.
        DataError: if the model's character map is damaged.
    """
    check_vocabulary(directory)
    manifest = read_manifest(directory, "vocabulary", VocabularyManifest)
    path = join_path(directory, MODEL_FILE)
    model = read_bytes(path) if exists(path) else b""
    if digest_of_bytes(model) != manifest.sha256:
        raise ArtifactError(
            f"{path} should be the model that {directory}/manifest.json describes and is missing "
            "or another (checksum); make the vocabulary again."
        )
    check_character_maps(model, path)
    return manifest, model


MOST_BYTES = 0.05  # share of byte tokens that rare characters explain
# Raised when unfinished shards of an earlier version may not be resumed: other ids or another cut.
VERSION = 2


def intents(arguments: Tokenize) -> list[Intent]:
    """Returns the command's intent."""
    return [checked_request(arguments).intent]


def run(arguments: Tokenize) -> None:
    """Writes token blocks, unless they are finished.

    Raises:
        ArtifactError: if files of the corpora are missing.
    """
    request, out = checked_request(arguments), absolute(arguments.out)
    run_stage(request.intent, partial(tokenize, arguments, request, out), partial(clear, out))


def tokenize(arguments: Tokenize, request: TokenRequest, out: str) -> Outcome:
    """Writes every shard of token blocks that is not finished."""
    shards, vocabulary = request.shards, request.vocabulary
    workspace = begin(out, shards, request)
    dtype = str(token_dtype(vocabulary.vocabulary_size).str)
    step = WriteShard(workspace, TokenLayout(dtype, vocabulary.byte_ids))
    unfinished = len(shards) - len(workspace.done(step.name))
    with Terminal(stderr=True).status(f"tokenize: {unfinished} shards of {len(shards)}"):
        do_items(step, len(shards), request.options)
    if request.onto is not None:
        carry(request, request.onto, workspace, step.layout)
    languages = collect(
        [
            *workspace.records(step.name, len(shards), Shard),
            *workspace.records(CARRIED, len(request.carried), Shard),
        ]
    )
    check_pages(languages, arguments.corpus)
    return Outcome(
        {"token_dtype": dtype, "vocabulary": facts_of(vocabulary), "languages": languages},
        f"{numbers_in_words(languages)}, in {arguments.out}",
        cautions(languages, shared_languages(arguments.corpus)),
        ("pretrain", "--recipe=mt5-laptop", "--tokens", arguments.out, "--out", "runs/mt5"),
    )


def numbers_in_words(languages: Mapping[str, Any]) -> str:
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


def shared_languages(corpora: Sequence[str]) -> list[str]:
    """Returns the languages that several corpora have pages of."""
    counts = Counter(
        code
        for corpus in corpora
        for code, entry in read_corpus(corpus).languages.items()
        if entry.kept and code != UNDETERMINED
    )
    return sorted(code for code, count in counts.items() if count > 1)


def cautions(languages: Mapping[str, Any], shared: Sequence[str] = ()) -> Iterator[str]:
    """Yields cautions for a training on token blocks.

    Args:
        languages: entries of the manifest.
        shared: languages that several corpora have.
    """
    if shared:
        yield (
            f"{', '.join(shared)} are in several corpora, in each of which lines and held-out "
            "pages were decided alone, so held-out text may be trained on; clean their input "
            "together, or with --onto."
        )
    without = [code for code, entry in languages.items() if not entry["validation"]["tokens"]]
    if len(without) == len(languages):
        yield (
            "no page is held out, so no run can be evaluated; clean into another directory with "
            "--validation-minimum 10 or with published validation files, or train with --set "
            "evaluate_every=0."
        )
    elif without:
        yield f"no page is held out in {len(without)} languages: {', '.join(without)}."
    shares = {
        code: entry["train"]["byte_tokens"] / max(entry["train"]["tokens"], 1)
        for code, entry in languages.items()
    }
    if foreign := [code for code, share in shares.items() if share > MOST_BYTES]:
        worst = max(foreign, key=lambda code: shares[code])
        yield (
            f"more than {MOST_BYTES:.0%} of the tokens are single bytes in {', '.join(foreign)} "
            f"({worst}: {shares[worst]:.0%}): the vocabulary was made for other text; train one on "
            "this corpus."
        )


def begin(out: str, shards: Sequence[PageShard], request: TokenRequest) -> Workspace:
    """Returns the job's workspace, with the list of shards and the vocabulary for its workers.

    Blocks of an unfinished job with another key are removed.
    """
    model, carried = request.model, request.carried
    workspace = Workspace(out, key_of(shards, model, carried))
    workspace.forget_stale(name for name in directories_in(out) if name not in (WORK, FOLDER))
    workspace.write_shards(shards)
    if request.onto is not None:
        leave_shards_to_carry(workspace, carried, digests_of(request.onto.corpus))
    with workspace.publish(join_path(out, MODEL_FILE)) as unfinished:
        unfinished.write_bytes(model)
    return workspace


def key_of(shards: Sequence[PageShard], model: bytes, carried: Sequence[Shard] = ()) -> str:
    """Returns the digest of everything that finished shards of one job have in common."""
    stay = to_builtins(carried)
    return workspace_key(VERSION, SCHEMA_VERSION, digest_of_bytes(model), shards, stay)


def facts_of(vocabulary: VocabularyManifest) -> dict[str, Any]:
    """Returns the fields of a vocabulary's manifest that token blocks repeat."""
    return {name: getattr(vocabulary, name) for name in VocabularyFacts.__struct_fields__}


def carry(request: TokenRequest, onto: Onto, workspace: Workspace, layout: TokenLayout) -> None:
    """Runs the job that copies the blocks that stay, and lists their pages that left."""
    ids = request.vocabulary.vocabulary_size
    step = CarryShard(workspace, onto.directory, onto.corpus, layout.dtype, ids, layout.byte_ids)
    do_items(step, len(request.carried), request.options)


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

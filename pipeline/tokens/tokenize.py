"""The job of `mswitch tokenize`: clean pages to token blocks, by tensorflow-text's op on Beam.

Blocks are written for every language with training pages, both splits. Shards begin and end with a
language's files of pages, so the output does not depend on the workers. The manifest holds counts
(tokens, bytes, characters, pages, unknown and byte tokens, from which the tokenizer's fertility per
language follows), the vocabulary's digest and one checksum per shard; the vocabulary is copied
beside the blocks. An interrupted job resumes after its last finished shard.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import to_builtins

from data.files.digests import digest_of_bytes
from data.files.locks import FOLDER
from data.files.paths import absolute, directories_in, exists, join_path, read_bytes
from data.languages import UNDETERMINED
from data.tokens.manifest import Shard, VocabularyFacts, VocabularyManifest
from data.tokens.shards import manifest_entry, token_dtype
from data.tokens.tokenizer import MODEL_FILE, check_character_maps
from pipeline.artifacts import SCHEMA_VERSION, VOCABULARY, digest_of_manifest, read_manifest
from pipeline.beam.job import do_items
from pipeline.beam.options import pipeline_options
from pipeline.beam.workspace import WORK, Workspace, clear, workspace_key
from pipeline.corpus.pages import (
    corpus_digests,
    corpus_read,
    digests_of,
    read_corpus,
    training_pages,
)
from pipeline.errors import ArtifactError
from pipeline.following import new_beside
from pipeline.stage import Identity, Intent, Job, Outcome, Reading, staged_job
from pipeline.terminal import Terminal
from pipeline.tokens.opened_blocks import check_pages
from pipeline.tokens.write import (
    CARRIED,
    SPLITS,
    CarryShard,
    PageShard,
    TokenLayout,
    WriteShard,
    added_shards,
    leave_shards_to_carry,
    page_shards,
    split_files,
    token_blocks_to_add_to,
)

MOST_BYTES = 0.05  # share of byte tokens that rare characters explain
# Raised when unfinished shards of an earlier version may not be resumed: other ids or another cut.
VERSION = 2


def tokenizing(
    corpora: Sequence[str], vocabulary: str, out: str, onto: str | None, beam: Sequence[str]
) -> Job:
    """Returns the job that writes the token blocks of corpora.

    Args:
        corpora: directories of the corpora.
        vocabulary: directory of the vocabulary.
        out: directory for the blocks.
        onto: token blocks that are added to; None for none.
        beam: options of the Beam job.

    Raises:
        ArtifactError: if there is no such corpus or vocabulary, or files are missing.
    """
    manifest, model = read_vocabulary(vocabulary)
    inputs = corpus_digests(corpora) | {"vocabulary": digest_of_manifest(vocabulary)}
    files = split_files(corpora)
    reads = [
        corpus_read(corpora, [*itertools.chain.from_iterable(files.values())]),
        Reading("vocabulary", vocabulary, 1, len(model)),
    ]
    blocks, carried = None, []
    if onto is None:
        shards = page_shards(files)
    else:
        blocks = token_blocks_to_add_to(onto, corpora, manifest.sha256)
        inputs["onto"] = digest_of_manifest(onto)
        carried = blocks.shards_to_carry([*training_pages(corpora)])
        shards = added_shards(blocks.files_added(files), blocks)
        reads.append(Reading("tokens", blocks.directory, 2 * len(carried), None, "which stay"))
    intent = Intent(
        stage="tokenize",
        reads=reads,
        writes=f"{len(shards):,} shards of token blocks, {MODEL_FILE} and manifest.json",
        out=out,
        identity=Identity({}, inputs),
        work=f"tokens of {manifest.vocabulary_size:,} ids",
    )

    def work() -> Outcome:
        options = pipeline_options(beam)
        workspace = begin(absolute(out), shards, model, carried)
        dtype = str(token_dtype(manifest.vocabulary_size).str)
        step = WriteShard(workspace, TokenLayout(dtype, manifest.byte_ids))
        unfinished = len(shards) - len(workspace.done(step.name))
        with Terminal(stderr=True).status(f"tokenize: {unfinished} shards of {len(shards)}"):
            do_items(step, len(shards), options)
        if blocks is not None:  # copies the blocks that stay, and lists their pages that left
            leave_shards_to_carry(workspace, carried, digests_of(blocks.corpus))
            ids, byte_ids = manifest.vocabulary_size, manifest.byte_ids
            stay = CarryShard(workspace, blocks.directory, blocks.corpus, dtype, ids, byte_ids)
            do_items(stay, len(carried), options)
        languages = collect(
            [
                *workspace.records(step.name, len(shards), Shard),
                *workspace.records(CARRIED, len(carried), Shard),
            ]
        )
        check_pages(languages, corpora)
        return Outcome(
            {"token_dtype": dtype, "vocabulary": facts_of(manifest), "languages": languages},
            f"{numbers_in_words(languages)}, in {out}",
            cautions(languages, shared_languages(corpora)),
            next_command(out),
        )

    return staged_job(intent, work, partial(clear, absolute(out)))


def next_command(tokens: str) -> Iterator[object]:
    """Yields the words that pretrain a small dense network: of the token blocks' own vocabulary."""
    yield from ("pretrain", "--recipe", "mt5-laptop", "--tokens", tokens)
    yield from ("--out", new_beside(tokens, "runs/mt5"))


def read_vocabulary(directory: str) -> tuple[VocabularyManifest, bytes]:
    """Returns the vocabulary's manifest and model.

    Raises:
        ArtifactError: if the model is not the one that the manifest describes.
        DataError: if the model's character map is damaged.
    """
    manifest = read_manifest(directory, VOCABULARY.stages, VocabularyManifest)
    path = join_path(directory, MODEL_FILE)
    model = read_bytes(path) if exists(path) else b""
    if digest_of_bytes(model) != manifest.sha256:
        raise ArtifactError(
            f"{path} should be the model that {directory}/manifest.json describes and is missing "
            "or another (checksum); make the vocabulary again."
        )
    check_character_maps(model, path)
    return manifest, model


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


def begin(
    out: str, shards: Sequence[PageShard], model: bytes, carried: Sequence[Shard]
) -> Workspace:
    """Returns the job's workspace, with the list of shards and the vocabulary for its workers.

    Blocks of an unfinished job with another key are removed.
    """
    workspace = Workspace(out, key_of(shards, model, carried))
    workspace.forget_stale(name for name in directories_in(out) if name not in (WORK, FOLDER))
    workspace.write_shards(shards)
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

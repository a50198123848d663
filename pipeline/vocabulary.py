"""`mswitch vocabulary`: trains a SentencePiece model on a sample of the mixture, or takes one.

Settings are those of mT5 (section 3.3) with T5's layout of ids: unigram, byte fallback, NFKC,
character coverage 0.99999 at full size, 100 sentinels after the last piece. The characters sampled
per language are proportional to its weight in the mixture. A language with less text is read
repeatedly, which weights its words as pretraining does. The same input gives the same model.

`--model FILE` takes an existing model in T5's layout unchanged. mT5's own has 250,000 pieces, and
T5's code adds its 100 sentinels; here they are appended with the same ids.

Memory depends on the sample, not on the corpus: 1.6 GB at the default 50 million characters and
32,000 ids, measured on 114 MB of text and on 1 GB alike. Most of it is SentencePiece's suffix
array, which takes about 30 bytes per character of --sample-characters: 0.5 GB at 10 million.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from data.errors import DataError
from data.examples.mixture import parse, weights_file
from data.stores.atomic import atomic_write
from data.stores.digests import digest_of_contents
from data.stores.files import local_copy
from data.tokens.tokenizer import (
    EOS,
    MODEL_FILE,
    PADDING,
    SENTINELS,
    UNKNOWN,
    has_sentinels,
    load,
    load_any,
    sentinel_pieces,
)
from pipeline.arguments import Vocabulary
from pipeline.artifacts.claims import Claim, claim, finish, withdraw
from pipeline.artifacts.output_lock import output_lock
from pipeline.corpus.pages import corpus_digests, page_count, page_files, page_texts, training_sizes
from pipeline.errors import ArtifactError
from pipeline.terminal import Terminal, print_end

LONGEST_SENTENCE_BYTES = 16_384  # SentencePiece skips longer ones, so they are cut
BYTES = 256  # pieces of the byte fallback
TRAINING_THREADS = 2  # fixed, as sums over threads depend on their number


def run(arguments: Vocabulary) -> None:
    """Trains a vocabulary or takes an existing one; does nothing if it is finished."""
    if arguments.model is not None:
        adopt(arguments, arguments.model)
    elif arguments.corpus and arguments.size:
        train_on_corpus(arguments)
    else:
        raise ArtifactError(
            "A vocabulary was asked for without --model and without both of --corpus and --size; "
            "give the last two to train one, or --model to take an existing one."
        )


def adopt(arguments: Vocabulary, path: Path) -> None:
    """Makes a vocabulary from an existing model, whose pieces keep their ids."""
    if arguments.corpus or arguments.size:
        raise ArtifactError(
            f"--model {path} was given together with --corpus or --size, which train another "
            "vocabulary; give one or the other."
        )
    content = with_sentinels(path)
    inputs = {"model": digest_of_contents(path)}
    with output_lock(arguments.out, "vocabulary"):
        if claim(arguments.out, "vocabulary", {}, inputs) is not Claim.FINISHED:
            conclude(arguments.out, content, {}, inputs, {})


def with_sentinels(path: Path) -> bytes:
    """Returns an existing model, with sentinels appended if it has none."""
    tokenizer = load_any(path)
    content = path.read_bytes()
    return (
        content if has_sentinels(tokenizer) else append_control_pieces(content, sentinel_pieces())
    )


def train_on_corpus(arguments: Vocabulary) -> None:
    """Trains a vocabulary on a sample of corpora; leaves nothing where that is impossible."""
    check_training(arguments)
    settings = {
        "size": arguments.size,
        "mixture": arguments.mixture,
        "character_coverage": arguments.character_coverage,
        "sample_characters": arguments.sample_characters,
    }
    weights = parse(arguments.mixture, training_sizes(arguments.corpus))
    inputs = corpus_digests(arguments.corpus)
    if weights_path := weights_file(arguments.mixture):
        inputs["weights"] = digest_of_contents(weights_path)
    console = Terminal(stderr=True)
    with output_lock(arguments.out, "vocabulary"):
        if claim(arguments.out, "vocabulary", settings, inputs) is Claim.FINISHED:
            console.print(f"vocabulary: {arguments.out} is finished.")
            return
        quotas = {
            code: round(weight * arguments.sample_characters) for code, weight in weights.items()
        }
        sentences, coverage = sample(arguments.corpus, quotas), arguments.character_coverage
        with console.status(f"vocabulary: {arguments.size} ids from {len(quotas)} languages"):
            try:
                model = train(sentences, arguments.size, coverage)
            except DataError:
                withdraw(arguments.out)
                raise
        facts = {"sample_characters": quotas}
        conclude(arguments.out, model, settings, inputs, facts, arguments.corpus)


def check_training(arguments: Vocabulary) -> None:
    """Checks the settings that need no text.

    Raises:
        ArtifactError: if a setting is out of its range.
    """
    least = SENTINELS + BYTES + len((PADDING, EOS, UNKNOWN)) + 1
    size, sampled = arguments.size, arguments.sample_characters
    coverage = arguments.character_coverage
    ranges = (
        ("--character-coverage", coverage, 0 < coverage <= 1, "above 0 and at most 1"),
        ("--size", size, size >= least, f"at least {least}: sentinels, bytes and a piece"),
        ("--sample-characters", sampled, sampled > 0, "1 or more"),
    )
    for name, value, fits, wanted in ranges:
        if not fits:
            raise ArtifactError(f"{name} was {value:g}; give a number {wanted}.")


def conclude(
    out: Path,
    model: bytes,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    facts: Mapping[str, Any],
    corpora: Sequence[str] = ("corpus",),
) -> None:
    """Writes the model and its manifest; prints the result, and the next command on `corpora`."""
    path = out / MODEL_FILE
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(model)
    tokenizer = load(path)
    body = {
        "vocabulary_size": tokenizer.size,
        "vocabulary_rows": tokenizer.rows,
        "first_sentinel": tokenizer.first_sentinel,
        "byte_ids": [tokenizer.byte_ids.start, tokenizer.byte_ids.stop],
        "sha256": digest_of_contents(path),
        **facts,
    }
    finish(out, "vocabulary", settings, inputs, body)
    print_end(
        "vocabulary",
        f"{tokenizer.size:,} ids ({SENTINELS} sentinels) in {path}; a network needs "
        f"{tokenizer.rows:,} vocabulary rows",
        following=f"tokenize --corpus {' '.join(corpora)} --vocabulary {out} --out tokens",
    )


def sample(corpora: Sequence[str], quotas: Mapping[str, int]) -> Iterator[str]:
    """Yields lines of pages, per language as many characters as its quota.

    Every file contributes in proportion to its pages, from its first page on: within a file pages
    are ordered by the hash of their address, so the first ones are a random sample.
    """
    for language, quota in quotas.items():
        paths = [file.path for file in page_files(corpora, language, "train")]
        pages = np.cumsum([0, *map(page_count, paths)])
        parts = np.diff(quota * pages // pages[-1])
        for path, part in zip(paths, parts.tolist(), strict=True):
            with local_copy(path) as here:
                yield from _sample_of_file(here, part)


def _sample_of_file(path: Path, characters: int) -> Iterator[str]:
    """Yields lines up to a number of characters; a short file is read repeatedly."""
    left = characters
    while left > 0:
        left_before = left
        for line in _lines(path):
            if left <= 0:
                return
            left -= len(line)
            yield line
        if left == left_before:  # a file without any character
            return


def train(sentences: Iterator[str], size: int, character_coverage: float) -> bytes:
    """Returns a serialised SentencePiece model of exactly `size` ids.

    Raises:
        DataError: if the text has too few or too many distinct pieces for the size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
            sentence_iterator=sentences,
            model_writer=model,
            model_type="unigram",
            vocab_size=size - SENTINELS,
            character_coverage=character_coverage,
            byte_fallback=True,
            pad_id=PADDING,
            eos_id=EOS,
            unk_id=UNKNOWN,
            bos_id=-1,
            max_sentence_length=LONGEST_SENTENCE_BYTES,
            num_threads=TRAINING_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).split("] ")[-1].rstrip(". ") or error
        raise DataError(
            f"A vocabulary of {size} ids at character coverage {character_coverage} was asked; "
            f"SentencePiece reports: {reason}. Change --size, lower --character-coverage (rare "
            "characters fall back to bytes), or give more text."
        ) from error
    return append_control_pieces(model.getvalue(), sentinel_pieces())


def append_control_pieces(model: bytes, pieces: Sequence[str]) -> bytes:
    """Appends control pieces to a serialised model, as its last ids.

    SentencePiece can only put control symbols first; T5 has its sentinels last. The encoding of a
    repeated field may continue at the end of a protocol-buffer message: field 1 of ModelProto is
    the list of pieces, each {1: text, 2: score, 3: type}, and type 3 is CONTROL.
    """
    for piece in pieces:
        text = piece.encode()
        body = bytes([0x0A, len(text)]) + text + b"\x15\x00\x00\x00\x00" + b"\x18\x03"
        model += bytes([0x0A, len(body)]) + body
    return model


def _lines(path: Path) -> Iterator[str]:
    characters = LONGEST_SENTENCE_BYTES // 4  # UTF-8 has at most 4 bytes per character
    for text in page_texts(path):
        for line in text.split("\n"):
            yield from (line[i : i + characters] for i in range(0, len(line), characters))

"""A vocabulary: a SentencePiece model, trained on a sample of the mixture, or an existing one.

Settings are those of mT5 (section 3.3) with T5's layout of ids: unigram, byte fallback, NFKC,
character coverage 0.99999 at full size, 100 sentinels after the last piece. The characters sampled
per language are proportional to its weight in the mixture. A language with less text is read
repeatedly, which weights its words as pretraining does. The same input gives the same model.

`--model FILE` takes an existing model in T5's layout; all its pieces keep their ids. Sentinels that
it lacks, as T5's own file does, are appended with the ids that T5's code gives them. Those that it
has as ordinary pieces, as mT5's file may, become control pieces, which no text can forge.

Memory depends on the sample, not on the corpus: 1.6 GB at the default 50 million characters and
32,000 ids, measured on 114 MB of text and on 1 GB alike. Most of it is SentencePiece's suffix
array, which takes about 30 bytes per character of --sample-characters: 0.5 GB at 10 million.
"""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from data.errors import DataError
from data.examples.mixture import parse, weights_file
from data.files.atomic import atomic_write
from data.files.digests import digest_of_contents
from data.files.paths import read_bytes
from data.tokens.seed_pieces import most_pieces
from data.tokens.tokenizer import (
    EOS,
    MODEL_FILE,
    PADDING,
    SENTINELS,
    UNKNOWN,
    WITHOUT_PIECES,
    Tokenizer,
    check_kind,
    ends_in_control_pieces,
    has_sentinels,
    load,
    load_any,
    sentinel_pieces,
)
from pipeline.artifacts import CORPUS, remove_claim
from pipeline.corpus.pages import (
    corpus_digests,
    corpus_read,
    page_files,
    training_pages,
    training_sizes,
)
from pipeline.corpus.sample import (
    ADVISED,
    LONGEST_SENTENCE_BYTES,
    MOST_COUNTED,
    check_size,
    quotas_of,
    sample,
    too_small,
)
from pipeline.following import finished_near, new_beside
from pipeline.stage import Identity, Intent, Job, Outcome, files_of, staged_job
from pipeline.stopping import at_second_signal
from pipeline.terminal import Terminal

ModelProto: Any = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue]
STAGE = "vocabulary"
# What SentencePiece (0.2.1) reports of a size that does not fit; its numbers lack the sentinels.
TOO_LARGE = re.compile(r"set it to a value <= ([0-9]+)")
TOO_SMALL = re.compile(r"smaller than required_chars\. [0-9]+ vs ([0-9]+)")
TRAINING_THREADS = 2  # fixed, as sums over threads depend on their number


def adoption(model: Path, out: Path) -> Job:
    """Returns the job that takes an existing model.

    Raises:
        DataError: if the file is not such a model.
    """
    content = with_sentinels(model)
    intent = Intent(
        stage=STAGE,
        reads=[files_of("model", model, [model])],
        writes=f"{MODEL_FILE} and manifest.json",
        out=out,
        identity=Identity({}, {"model": digest_of_contents(model)}),
        work="none: its pieces keep their ids",
        time="seconds",
    )
    return staged_job(intent, partial(write_model, out, content, {}))


def with_sentinels(path: Path) -> bytes:
    """Returns an existing model with its last 100 pieces as sentinels, appended if it has none.

    Raises:
        DataError: if the file is missing, or not a unigram model in T5's layout.
    """
    tokenizer = load_any(path)
    content = read_bytes(path)
    check_kind(content)
    if not has_sentinels(tokenizer):
        return append_control_pieces(content, sentinel_pieces())
    if ends_in_control_pieces(tokenizer):
        return content
    return with_last_as_control(content, SENTINELS)


def training(
    corpora: Sequence[str], out: Path, *, size: int, mixture: str, coverage: float, sampled: int
) -> Job:
    """Returns the job that trains a vocabulary on a sample of corpora.

    Args:
        corpora: directories of the corpora.
        out: directory of the vocabulary.
        size: number of ids.
        mixture: weights of the languages in the sample.
        coverage: share of characters that get a piece of their own.
        sampled: characters of the sample.

    Raises:
        ArtifactError: if there is no such corpus.
        DataError: if the mixture is unknown, or the size has no room for the characters.
    """
    weights = parse(mixture, training_sizes(corpora))
    files = {code: page_files(corpora, code, "train") for code in weights}
    quotas = quotas_of(weights, sampled)
    check_size(size, coverage, sampled, corpora, files, weights)
    inputs = corpus_digests(corpora)
    reads = [corpus_read(corpora, [*chain.from_iterable(files.values())])]
    if weights_path := weights_file(mixture):
        inputs["weights"] = digest_of_contents(weights_path)
        reads.append(files_of("weights", weights_path, [Path(weights_path)]))
    settings = {
        "size": size,
        "mixture": mixture,
        "character_coverage": coverage,
        "sample_characters": sampled,
    }
    intent = Intent(
        stage=STAGE,
        reads=reads,
        writes=f"{MODEL_FILE} and manifest.json",
        out=out,
        identity=Identity(settings, inputs),
        work=f"{size:,} ids from a sample of {sampled:,} characters by {mixture}",
    )

    def work() -> Outcome:
        lines = sample(files, quotas, training_pages(corpora))
        told = f"vocabulary: {size} ids from {len(quotas)} languages"
        with unclaimed_without_model(out), Terminal(stderr=True).status(told):
            model = train(lines, size, coverage)
        return write_model(out, model, {"sample_characters": quotas}, corpora)

    return staged_job(intent, work)


@contextlib.contextmanager
def unclaimed_without_model(out: Path) -> Iterator[None]:
    """Removes the claim if the block fails or a signal ends it: other settings may follow."""
    with at_second_signal(lambda: remove_claim(out)):
        try:
            yield
        except BaseException:
            remove_claim(out)
            raise


def facts_of_model(tokenizer: Tokenizer, path: Path) -> dict[str, Any]:
    """Returns what manifests state of a vocabulary, which was loaded from this file."""
    return {
        "vocabulary_size": tokenizer.size,
        "vocabulary_rows": tokenizer.rows,
        "first_sentinel": tokenizer.first_sentinel,
        "byte_ids": [tokenizer.byte_ids.start, tokenizer.byte_ids.stop],
        "sha256": digest_of_contents(path),
    }


def write_model(
    out: Path, model: bytes, facts: Mapping[str, Any], corpora: Sequence[str] = ()
) -> Outcome:
    """Writes the model; the command that follows reads `corpora`, or the one that lies near."""
    path = out / MODEL_FILE
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(model)
    tokenizer = load(path)
    return Outcome(
        {**facts_of_model(tokenizer, path), **facts},
        f"{tokenizer.size:,} ids ({SENTINELS} sentinels) in {path}; a network needs "
        f"{tokenizer.rows:,} vocabulary rows",
        following=next_command(out, corpora),
    )


def next_command(out: Path, corpora: Sequence[str]) -> Iterator[object]:
    """Yields the words that tokenize; none where it is not known what."""
    near = [] if corpora else list(finished_near(out, CORPUS))
    if read := corpora or [corpus for corpus, _ in near if len(near) == 1]:
        tokens = new_beside(out, "tokens", f"tokens-{out.name}")
        yield from ("tokenize", "--corpus", *read, "--vocabulary", out, "--out", tokens)


def train(sentences: Iterator[str], size: int, character_coverage: float) -> bytes:
    """Returns a serialised SentencePiece model of exactly `size` ids.

    Raises:
        DataError: if the text has too few or too many distinct pieces for the size.
    """
    model = io.BytesIO()
    # SentencePiece takes an exception of its iterator for the end of the text, so the sample is
    # drawn before. The list is freed once it has been read, before the suffix array is made.
    drawn = [*sentences]
    check_substrings(drawn, size)
    drawn = iter(drawn)
    try:
        sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
            sentence_iterator=drawn,
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
        raise DataError(
            f"A vocabulary of {size} ids at character coverage {character_coverage} was asked; "
            f"{misfit(str(error))}."
        ) from error
    return append_control_pieces(model.getvalue(), sentinel_pieces())


def check_substrings(lines: Sequence[str], size: int) -> None:
    """Checks that a large sample has as many substrings as a size has pieces.

    Of a small one SentencePiece itself reports the exact number within seconds.

    Raises:
        DataError: if it has not.
    """
    if sum(map(len, lines)) <= MOST_COUNTED:
        return
    if (most := WITHOUT_PIECES + most_pieces(lines, size - WITHOUT_PIECES)) < size:
        raise DataError(
            f"A vocabulary of {size} ids was asked; the text has pieces for fewer than {most}, and "
            f"training drops most of these: give a far smaller --size, such as {ADVISED}, or more "
            "text."
        )


def misfit(reported: str) -> str:
    """Returns SentencePiece's report on a size with advice, without a full stop."""
    if bound := TOO_LARGE.search(reported):
        most = int(bound[1]) + SENTINELS
        return f"the text has pieces for at most {most}: give --size {most} or less, or more text"
    if bound := TOO_SMALL.search(reported):
        least = int(bound[1]) + SENTINELS
        return too_small(least, least)
    reason = reported.split("] ")[-1].rstrip(". ") or reported
    return f"SentencePiece reports: {reason}. Change --size or --character-coverage, or the text"


def with_last_as_control(model: bytes, number: int) -> bytes:
    """Returns a serialised model whose last pieces are control pieces, which no text becomes."""
    proto = ModelProto.FromString(model)
    for piece in proto.pieces[-number:]:
        piece.type = ModelProto.SentencePiece.CONTROL
    return proto.SerializeToString()


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

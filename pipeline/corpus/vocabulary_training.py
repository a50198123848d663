"""A vocabulary's training as the user requested it: arguments resolved and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.examples.mixture import parse, weights_file
from data.files.digests import digest_of_contents
from data.languages import UNDETERMINED
from data.tokens.tokenizer import EOS, MODEL_FILE, PADDING, SENTINELS, UNKNOWN
from pipeline.arguments import Vocabulary
from pipeline.artifacts.intent import Identity, Intent, files_of
from pipeline.corpus.pages import (
    PageFile,
    corpus_digests,
    corpus_read,
    page_files,
    training_sizes,
)
from pipeline.errors import ArtifactError

STAGE = "vocabulary"
BYTES = 256  # pieces of the byte fallback
LEAST = SENTINELS + BYTES + len((PADDING, EOS, UNKNOWN)) + 1  # ids, with one piece
ADVISED, ADVISED_OF_LITTLE = 4096, 2048  # ids for a first training
LITTLE = 1_000_000  # characters of a corpus that may have fewer pieces than ADVISED
REPETITIONS = 10  # of a small text in the sample that is advised


@dataclass(frozen=True, kw_only=True)
class VocabularyTraining:
    """A training of a vocabulary whose arguments passed all checks.

    Attributes:
        arguments: the command's arguments.
        files: files of training pages by language.
        quotas: characters to sample by language.
        intent: what it would do.
    """

    arguments: Vocabulary
    files: Mapping[str, Sequence[PageFile]]
    quotas: Mapping[str, int]
    intent: Intent


def requested_training(arguments: Vocabulary) -> VocabularyTraining:
    """Returns the training that the arguments name.

    Raises:
        ArtifactError: if a setting is missing or out of its range, or there is no such corpus.
        DataError: if the mixture is unknown.
    """
    if not (arguments.corpus and arguments.size):
        raise ArtifactError(
            "A vocabulary was asked for without --model and without both of --corpus and --size; "
            "give the last two to train one, or --model to take an existing one."
        )
    check_training(arguments)
    weights = parse(arguments.mixture, training_sizes(arguments.corpus))
    files = {code: page_files(arguments.corpus, code, "train") for code in weights}
    quotas = {code: round(weight * arguments.sample_characters) for code, weight in weights.items()}
    return VocabularyTraining(
        arguments=arguments,
        files=files,
        quotas=quotas,
        intent=training_intent(arguments, [file for some in files.values() for file in some]),
    )


def training_intent(arguments: Vocabulary, files: Sequence[PageFile]) -> Intent:
    """Returns what a training on these files of pages would do."""
    settings = {
        "size": arguments.size,
        "mixture": arguments.mixture,
        "character_coverage": arguments.character_coverage,
        "sample_characters": arguments.sample_characters,
    }
    inputs = corpus_digests(arguments.corpus)
    reads = [corpus_read(arguments.corpus, files)]
    if weights_path := weights_file(arguments.mixture):
        inputs["weights"] = digest_of_contents(weights_path)
        reads.append(files_of("weights", weights_path, [Path(weights_path)]))
    return Intent(
        stage=STAGE,
        reads=reads,
        writes=f"{MODEL_FILE} and manifest.json",
        out=arguments.out,
        identity=Identity(settings, inputs),
        work=(
            f"{arguments.size:,} ids from a sample of {arguments.sample_characters:,} characters "
            f"by {arguments.mixture}"
        ),
    )


def check_training(arguments: Vocabulary) -> None:
    """Checks the settings that need no text.

    Raises:
        ArtifactError: if a setting is out of its range.
    """
    size, sampled = arguments.size, arguments.sample_characters
    coverage = arguments.character_coverage
    ranges = (
        ("--character-coverage", coverage, 0.98 <= coverage <= 1, "of at least 0.98, at most 1"),
        ("--size", size, size >= LEAST, f"at least {LEAST}: sentinels, bytes and a piece"),
        ("--sample-characters", sampled, sampled > 0, "1 or more"),
    )
    for name, value, fits, wanted in ranges:
        if not fits:
            raise ArtifactError(f"{name} was {value:g}; give a number {wanted}.")


def advised_command(corpus: str, languages: Mapping[str, Any]) -> list[str]:
    """Returns the words of a first training on a corpus; none if it has no page to train on.

    The sample repeats a small text at most ten times, so where the size does not fit, `vocabulary`
    names one that does within seconds.

    Args:
        corpus: directory of the corpus.
        languages: counts by language of its manifest.
    """
    known = [one for code, one in languages.items() if one["kept"] and code != UNDETERMINED]
    if not known:
        return []
    characters = sum(one["characters"] for one in known)
    size, sample = ADVISED if characters > LITTLE else ADVISED_OF_LITTLE, characters * REPETITIONS
    words = ["vocabulary", "--corpus", corpus, "--size", str(size)]
    if sample < Vocabulary.sample_characters:
        words += ["--sample-characters", str(sample)]
    return [*words, "--out", "vocabulary"]

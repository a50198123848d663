"""Checks of a command that adds to a corpus, and the settings that it takes from it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.files import digests
from data.files.paths import absolute, join_path
from data.languages import codes
from pipeline.arguments import Clean
from pipeline.beam.workspace import absent
from pipeline.cleaning.growth.growth_files import GrowthFacts, GrowthFiles
from pipeline.cleaning.input_files import identity
from pipeline.cleaning.shards import InputFile
from pipeline.corpus.manifests import read_corpus


def completed(arguments: Clean, version: int) -> Clean:
    """Returns the arguments with the settings of the corpus that they add to, if there is one.

    Raises:
        DataError: if an option contradicts the corpus, files of it are missing, or no rules are
            named.
        ArtifactError: if there is no such corpus.
    """
    if arguments.onto is None:
        if arguments.rules is None:
            raise DataError(
                "clean was given neither --rules nor --onto; name the rules of a new corpus, or "
                "the corpus to add to."
            )
        return arguments
    read_corpus(arguments.onto)
    found = GrowthFiles(absolute(arguments.onto))
    facts = found.facts()
    if facts.version != version:
        raise DataError(
            f"What is kept beside {arguments.onto} is of version {facts.version}, and this one "
            f"reads {version}; clean all input again with --growable."
        )
    if missing := absent(_files_of(found, facts)):
        raise DataError(
            f"{missing} files of {arguments.onto} are missing; restore them, or clean all input "
            "again with --growable."
        )
    if contradictions := [*_contradictions(arguments, facts)]:
        raise DataError(f"{'; '.join(contradictions)}; leave the option out, or clean all again.")
    return replace(
        arguments,
        rules=facts.rules,
        languages=facts.languages,
        validation_share=facts.share and facts.share.share,
        validation_minimum=facts.share and facts.share.minimum,
        growable=True,
    )


def _files_of(growth: GrowthFiles, facts: GrowthFacts) -> Iterator[str]:
    """Yields the files that an addition reads: the corpus's, and what is kept of each shard."""
    for file in facts.files:
        yield join_path(growth.corpus, file.name)
    for shard in range(len(facts.input)):
        yield growth.tally_path(shard)
        yield from (growth.path(kind, shard) for kind in growth.kept_beside().kept_beside)


def _contradictions(arguments: Clean, facts: GrowthFacts) -> Iterator[str]:
    """Yields what was given and is not the corpus's, one clause each."""
    languages = arguments.languages and codes(arguments.languages)
    share = facts.share
    pairs = (
        ("--rules", arguments.rules, facts.rules),
        ("--languages", languages, facts.languages and codes(facts.languages)),
        ("--validation-share", arguments.validation_share, share and share.share),
        ("--validation-minimum", arguments.validation_minimum, share and share.minimum),
    )
    for name, given, there in pairs:
        if given is not None and given != there:
            was = "without it" if there is None else f"with {there}"
            yield f"{name} {given} was given, and {arguments.onto} was cleaned {was}"
    words, model = arguments.bad_words, arguments.language_identifier
    digest = None if words is None else digests.digest_of_directory(words)
    yield from _of_file("--bad-words", words, digest, facts.bad_words)
    digest = None if model is None else digests.digest_of_contents(model)
    yield from _of_file("--language-identifier", model, digest, facts.identifier)


def _of_file(
    name: str, path: Path | str | None, given: str | None, there: str | None
) -> Iterator[str]:
    if given == there:
        return
    if path is None:
        yield f"the corpus was cleaned with {name}, which is needed again"
    elif there is None:
        yield f"{name} {path} was given, and the corpus was cleaned without it"
    else:
        yield f"{name} {path} was given, and the corpus was cleaned with other files"


def check_new(files: Sequence[InputFile], corpus: str, facts: GrowthFacts) -> None:
    """Checks that no file of the input is in the corpus already.

    Raises:
        DataError: if one is.
    """
    there = {identity(file.path) for shard in facts.input for file in shard}
    if again := [file.path for file in files if identity(file.path) in there]:
        raise DataError(
            f"{len(again)} of {len(files)} files of the input, such as {again[0]}, are in {corpus} "
            f"already, by {Path(corpus, 'growth', 'growth.json')}; name only new ones."
        )

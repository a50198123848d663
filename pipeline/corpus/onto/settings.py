"""The settings of an addition: those of its corpus, which no option may contradict."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data.errors import DataError
from data.files import digests
from data.files.paths import absolute, join_path
from data.languages import codes
from pipeline.beam.workspace import absent
from pipeline.corpus.job import VERSION
from pipeline.corpus.onto.verdicts import GrowthFacts, GrowthFiles, digest_of_languages
from pipeline.corpus.pages import read_corpus
from pipeline.corpus.read import InputFile, identity


def settings_of_base(
    onto: str,
    *,
    rules: str | None,
    languages: Sequence[str] | None,
    share: float | None,
    minimum: int | None,
    bad_words: Path | None,
    identifier: str | None,
) -> GrowthFacts:
    """Returns the settings of the corpus that an input is added to, which what was given fits.

    Args:
        onto: directory of the corpus.
        rules, languages, share, minimum, bad_words, identifier: what was given; None for nothing.

    Raises:
        DataError: if an option contradicts the corpus, or files of it are missing.
        ArtifactError: if there is no such corpus.
    """
    read_corpus(onto)
    growth = GrowthFiles(absolute(onto))
    facts = growth.facts()
    if facts.version != VERSION:
        raise DataError(
            f"What is kept beside {onto} is of version {facts.version}, and this one reads "
            f"{VERSION}; clean all input again with --growable."
        )
    if facts.table != digest_of_languages():
        raise DataError(
            f"{onto} was cleaned with other languages or aliases in data/languages.tsv; clean all "
            "input again with --growable, as its pages may be in others now."
        )
    if len(facts.tallies) != len(facts.input):
        raise DataError(
            f"{growth.facts_path} should have the digest of each of {len(facts.input):,} shards "
            f"and has {len(facts.tallies):,}; restore it, or clean all input again with --growable."
        )
    if missing := absent(_files_of(growth, facts)):
        raise DataError(
            f"{missing} files of {onto} are missing; restore them, or clean all input again with "
            "--growable."
        )
    settings = {
        "rules": rules,
        "languages": languages and codes(languages),
        "validation-share": share,
        "validation-minimum": minimum,
    }
    if others := [*_contradictions(onto, facts, settings, bad_words, identifier)]:
        raise DataError(f"{'; '.join(others)}; leave the option out, or clean all again.")
    return facts


def _files_of(growth: GrowthFiles, facts: GrowthFacts) -> Iterator[str]:
    """Yields the files that an addition reads: the corpus's, and what is kept of each shard."""
    for file in facts.files:
        yield join_path(growth.corpus, file.name)
    for shard in range(len(facts.input)):
        yield growth.tally_path(shard)
        yield from (growth.path(kind, shard) for kind in growth.kept_beside().kept_beside)


def _contradictions(
    onto: str,
    facts: GrowthFacts,
    settings: Mapping[str, object],
    bad_words: Path | None,
    identifier: str | None,
) -> Iterator[str]:
    """Yields what was given and is not the corpus's, one clause each."""
    share = facts.share
    there = {
        "rules": facts.rules,
        "languages": facts.languages and codes(facts.languages),
        "validation-share": share and share.share,
        "validation-minimum": share and share.minimum,
    }
    for name, given in settings.items():
        if given is not None and given != there[name]:
            was = "without it" if there[name] is None else f"with {there[name]}"
            yield f"--{name} {given} was given, and {onto} was cleaned {was}"
    digest = None if bad_words is None else digests.digest_of_directory(bad_words)
    yield from _of_file("--bad-words", bad_words, digest, facts.bad_words)
    digest = None if identifier is None else digests.digest_of_contents(identifier)
    yield from _of_file("--language-identifier", identifier, digest, facts.identifier)


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

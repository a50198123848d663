"""What the user asked of `clean`: arguments resolved to files, rules and options, and checked.

Nothing is written here, so that a dry run and a real one read and refuse the same.
"""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from data.files import digests
from data.files.paths import absolute
from data.languages import codes
from data.reading.crawl import COMMON_CRAWL
from data.rules.bad_words import BadWordRule
from pipeline.arguments import Clean, Estimate
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.artifacts.intent import Identity, Intent, Reading, files_of
from pipeline.beam.options import check_workers_reach, pipeline_options
from pipeline.beam.store_options import use_store_options
from pipeline.cleaning.growth.growth_files import FOLDER, GrowthFiles
from pipeline.cleaning.growth.request import check_new, completed
from pipeline.cleaning.input_files import files_named, from_crawl, input_files, of_languages
from pipeline.cleaning.job import VERSION, AnyRules, trusts_declarations
from pipeline.cleaning.requested_rules import (
    bad_word_rule,
    check_unsplit,
    fasttext_model,
    requested_rules,
)
from pipeline.cleaning.shards import InputFile
from pipeline.corpus.data_card import check_license

STAGE = "clean"


@dataclass(frozen=True, kw_only=True)
class CleaningRequest:
    """A cleaning job whose arguments passed all checks.

    Attributes:
        arguments: the command's arguments.
        out: directory of the corpus, as every process resolves it.
        rules: rule set that judges pages.
        languages: codes of the requested languages, or None for all.
        bad_words: rule of the lists of bad words.
        identifier: path of a fastText model, or None for CLD3.
        options: options of a small Beam job.
        files: input files to read.
        base: what is kept beside the corpus that they are added to; None for none.
        not_read: number of files in languages that were not requested, by language.
        identity: settings and digests of the input.
    """

    arguments: Clean
    out: str
    rules: AnyRules
    languages: tuple[str, ...] | None
    bad_words: BadWordRule | None
    identifier: str | None
    options: PipelineOptions
    files: Sequence[InputFile]
    base: GrowthFiles | None
    not_read: Counter[str]
    identity: Identity

    @property
    def size(self) -> int:
        """Bytes of the input files as stored; those of a crawl count as files of usual size."""
        return sum(file.size for file in self.files)


def resolved(arguments: Clean) -> CleaningRequest:
    """Returns the job that the arguments name.

    Raises:
        DataError: if there is no such input, or options contradict.
    """
    arguments = completed(arguments, VERSION)
    rules = requested_rules(arguments)
    check_license(arguments.license)
    languages = None if arguments.languages is None else codes(arguments.languages)
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    base = None if arguments.onto is None else GrowthFiles(absolute(arguments.onto))
    check_workers_reach(options, [*files_named(arguments.input), *used_by_workers(arguments, base)])
    files = input_files(arguments.input, arguments.crawl_base)
    if base is not None:
        check_new(files, base.corpus, base.facts())
    check_unsplit(rules, files)
    read, not_read = files, Counter[str]()
    if languages is not None and trusts_declarations(rules):
        read, not_read = of_languages(files, languages)
    return CleaningRequest(
        arguments=arguments,
        out=absolute(str(arguments.out)),
        rules=rules,
        languages=languages,
        bad_words=bad_word_rule(rules, arguments.bad_words),
        identifier=fasttext_model(rules, arguments.language_identifier),
        options=options,
        files=read,
        base=base,
        not_read=not_read,
        identity=Identity(
            settings_of(arguments, rules, languages, files), input_digests(arguments, files)
        ),
    )


def used_by_workers(arguments: Clean, base: GrowthFiles | None) -> list[str]:
    """Returns the paths that workers open beside the input's."""
    places = [arguments.out, arguments.language_identifier, arguments.crawl_cache]
    named = [str(place) for place in places if place is not None]
    return named if base is None else [*named, base.corpus]


def settings_of(
    arguments: Clean,
    rules: AnyRules,
    languages: tuple[str, ...] | None,
    files: Sequence[InputFile],
) -> dict[str, Any]:
    """Returns every setting that changes the corpus, as JSON values."""
    base = {"crawl_base": arguments.crawl_base.rstrip("/")} if from_crawl(files) else {}
    return (
        {
            "rules": rules.name,
            "held_out": str(rules.held_out),
            "languages": languages,
            "input": arguments.input,
        }
        | base
        | ({"growable": True} if arguments.growable else {})
        | ({} if arguments.license is None else {"license": arguments.license})
    )


def input_digests(arguments: Clean, files: Sequence[InputFile]) -> dict[str, str]:
    """Returns the digests of the input's names and sizes, of bad words and of the identifier.

    Files of a crawl have no size yet, and other files may have the same name, so their addresses
    count.
    """
    inputs = {"files": digests.digest_of_files((file.path, file.size) for file in files)}
    if listed := from_crawl(files):
        inputs["crawl"] = digests.digest_of_value(listed)
    if arguments.onto is not None:
        inputs["onto"] = digest_of_manifest(arguments.onto)
    if arguments.bad_words is not None:
        inputs["bad_words"] = digests.digest_of_directory(arguments.bad_words)
    if arguments.language_identifier is not None:
        inputs["identifier"] = digests.digest_of_contents(arguments.language_identifier)
    return inputs


def intent_of(request: CleaningRequest) -> Intent:
    """Returns what the job would do."""
    asked = request.arguments
    languages = "all languages" if request.languages is None else ", ".join(request.languages)
    skipped = f"; {request.not_read.total():,} files are in other languages"
    return Intent(
        stage=STAGE,
        reads=list(readings(request)),
        writes=f"{', '.join(folders(asked))} and manifest.json",
        out=asked.out,
        identity=request.identity,
        work=f"rules {request.rules.name}, {languages}{skipped if request.not_read else ''}",
        time=f"not measured; `{estimate_command(asked)}` cleans a sample and predicts it",
    )


def folders(asked: Clean) -> list[str]:
    """Returns the folders that the job writes."""
    more = [*(["growth/"] if asked.growable else []), *(["delta/"] if asked.onto else [])]
    return ["pages/", "rejected/", "broken/", *more]


def readings(request: CleaningRequest) -> Iterator[Reading]:
    """Yields the input, lists of bad words, and the identifier."""
    asked, listed = request.arguments, len(from_crawl(request.files))
    size = None if listed else request.size
    yield Reading("input", " ".join(asked.input), len(request.files), size)
    if request.base is not None:
        facts = request.base.facts()
        holds = f"{len(facts.input):,} shards in {FOLDER}/"
        yield Reading("corpus", request.base.corpus, len(facts.files), None, holds)
    if asked.bad_words is not None:
        yield files_of("bad words", asked.bad_words, asked.bad_words.iterdir())
    if asked.language_identifier is not None:
        model = asked.language_identifier
        yield files_of("identifier", model, [model])


def estimate_command(asked: Clean) -> str:
    """Returns the command that measures a sample of the input."""
    return f"mswitch estimate {shlex.join(input_words(asked))}"


def input_words(asked: Clean | Estimate) -> list[str]:
    """Returns the words of a command line that name input and rules."""
    assert asked.rules is not None  # `resolved` completes them
    words = ["--input", *asked.input, "--rules", asked.rules]
    base = [] if asked.crawl_base == COMMON_CRAWL else ["--crawl-base", asked.crawl_base]
    return [*words, *base]

"""A request to `clean`: its arguments resolved to files, rules and options, and checked.

Of an addition, the settings are those of its corpus. Nothing is written here, so that a dry run and
a real one read and refuse the same.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from data.errors import DataError
from data.files import digests
from data.files.paths import absolute, join_path, local_copy
from data.language_id.fasttext import try_to_load
from data.languages import codes
from data.reading.crawl import COMMON_CRAWL
from data.reading.records import published_as
from data.rules import bad_words, rule_sets
from data.rules.bad_words import BadWordRule
from data.rules.held_out import (
    ShareOfEachLanguage,
    ShareOfUnsplitPages,
    share_of_each_language,
)
from data.rules.rule_sets import LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.arguments import Clean, Estimate
from pipeline.artifacts import digest_of_manifest
from pipeline.beam.options import check_workers_reach, pipeline_options, use_store_options
from pipeline.beam.workspace import absent
from pipeline.corpus.card import check_license
from pipeline.corpus.job import VERSION, AnyRules, trusts_declarations
from pipeline.corpus.onto.verdicts import FOLDER, GrowthFacts, GrowthFiles, digest_of_languages
from pipeline.corpus.pages import read_corpus
from pipeline.corpus.read import (
    InputFile,
    files_named,
    from_crawl,
    identity,
    input_files,
    of_languages,
)
from pipeline.stage import Identity, Intent, Reading, files_of


def complete_arguments(arguments: Clean, version: int) -> Clean:
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
    growth = GrowthFiles(absolute(arguments.onto))
    facts = growth.facts()
    if facts.version != version:
        raise DataError(
            f"What is kept beside {arguments.onto} is of version {facts.version}, and this one "
            f"reads {version}; clean all input again with --growable."
        )
    if facts.table != digest_of_languages():
        raise DataError(
            f"{arguments.onto} was cleaned with other languages or aliases in data/languages.tsv; "
            "clean all input again with --growable, as its pages may be in others now."
        )
    if len(facts.tallies) != len(facts.input):
        raise DataError(
            f"{growth.facts_path} should have the digest of each of {len(facts.input):,} shards "
            f"and has {len(facts.tallies):,}; restore it, or clean all input again with --growable."
        )
    if missing := absent(_files_of(growth, facts)):
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


MC4_SHARE = 0.001


def find_rules(name: str) -> AnyRules:
    """Returns the rule set with this name.

    Raises:
        DataError: if there is none.
    """
    web = rule_sets.mswitch_web()
    return web if name == web.name else rule_sets.find_rule_set(name)


def requested_rules(arguments: Clean) -> AnyRules:
    """Returns the named rules, with the user's settings of held-out pages.

    Raises:
        DataError: if there are no such rules, or the share is invalid.
    """
    assert arguments.rules is not None  # `completed` has them
    rules = find_rules(arguments.rules)
    if arguments.validation_share is None and arguments.validation_minimum is None:
        return rules
    of_rules = rules.held_out
    if isinstance(of_rules, ShareOfEachLanguage):
        share, minimum = of_rules.share, of_rules.minimum
    else:
        share, minimum = MC4_SHARE, 0
    if arguments.validation_share is not None:
        share = arguments.validation_share
    if arguments.validation_minimum is not None:
        minimum = arguments.validation_minimum
    held_out = share_of_each_language(share, minimum)
    if isinstance(rules, Untouched):
        return replace(rules, held_out=ShareOfUnsplitPages(**vars(held_out)))
    return replace(rules, held_out=held_out)


def check_unsplit(rules: AnyRules, files: Iterable[InputFile]) -> None:
    """Checks that no file's name has a split where a share of all pages is to be held out.

    Raises:
        DataError: if one has.
    """
    if isinstance(rules.held_out, ShareOfUnsplitPages):
        for file in files:
            rules.held_out.check(file.path, published_as(file.path.rpartition("/")[2]).split)


def bad_word_rule(rules: AnyRules, directory: Path | None) -> BadWordRule | None:
    """Returns the rule of the rule set with the lists in the directory, if there is one.

    Raises:
        DataError: if the rule set uses no lists, or if the directory has none.
    """
    if directory is None:
        return None
    if isinstance(rules, Untouched) or rules.bad_words is None:
        raise DataError(
            f"Lists of bad words ({directory}) were given to the rules {rules.name}, which use "
            "none; leave --bad-words out, or choose mc4, mc4-3.0.1, c4-en or mswitch-web."
        )
    return BadWordRule(bad_words.read(directory), rules.bad_words)


def fasttext_model(rules: AnyRules, model: str | None) -> str | None:
    """Returns the path or address of the fastText model that replaces CLD3, if one was given.

    Raises:
        DataError: if the rules use no identifier, or if the file is not a model.
    """
    if model is None:
        return None
    identifies = isinstance(rules, WebRuleSet) or (
        isinstance(rules, RuleSet) and rules.language_by is not LanguageBy.LANGDETECT
    )
    if not identifies:
        raise DataError(
            f"A language identifier ({model}) was given to the rules {rules.name}, which do not "
            "use CLD3; leave --language-identifier out, or name other rules."
        )
    with local_copy(model) as here:
        try_to_load(here)  # checked here rather than in every worker after the first step
    return absolute(model)


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


def cleaning_request(arguments: Clean) -> CleaningRequest:
    """Returns the job that the arguments name.

    Raises:
        DataError: if there is no such input, or options contradict.
    """
    arguments = complete_arguments(arguments, VERSION)
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
        }
        | base
        | ({"growable": True} if arguments.growable else {})
        | ({} if arguments.license is None else {"license": arguments.license})
    )


def input_digests(arguments: Clean, files: Sequence[InputFile]) -> dict[str, str]:
    """Returns the digests of the input's places and sizes, of bad words and of the identifier.

    Files of a crawl have no size yet.
    """
    listed = from_crawl(files)
    here = [(file.path, file.size) for file in files if file.path not in listed]
    inputs = digests.digests_of_files(here)
    if listed:
        inputs["crawl"] = digests.digest_of_value(listed)
    if arguments.onto is not None:
        inputs["onto"] = digest_of_manifest(arguments.onto)
    if arguments.bad_words is not None:
        inputs["bad_words"] = digests.digest_of_directory(arguments.bad_words)
    if arguments.language_identifier is not None:
        inputs["identifier"] = digests.digest_of_contents(arguments.language_identifier)
    return inputs


def intent_of(request: CleaningRequest) -> Intent:
    """Returns the job's intent."""
    arguments = request.arguments
    languages = "all languages" if request.languages is None else ", ".join(request.languages)
    skipped = f"; {request.not_read.total():,} files are in other languages"
    return Intent(
        stage=STAGE,
        reads=list(readings(request)),
        writes=f"{', '.join(folders(arguments))} and manifest.json",
        out=arguments.out,
        identity=request.identity,
        work=f"rules {request.rules.name}, {languages}{skipped if request.not_read else ''}",
        time=f"not measured; `{estimate_command(arguments)}` cleans a sample and predicts it",
    )


def folders(arguments: Clean) -> list[str]:
    """Returns the folders that the job writes."""
    more = [*(["growth/"] if arguments.growable else []), *(["delta/"] if arguments.onto else [])]
    return ["pages/", "rejected/", "broken/", *more]


def readings(request: CleaningRequest) -> Iterator[Reading]:
    """Yields the input, lists of bad words, and the identifier."""
    arguments, listed = request.arguments, len(from_crawl(request.files))
    size = None if listed else request.size
    yield Reading("input", " ".join(arguments.input), len(request.files), size)
    if request.base is not None:
        facts = request.base.facts()
        holds = f"{len(facts.input):,} shards in {FOLDER}/"
        yield Reading("corpus", request.base.corpus, len(facts.files), None, holds)
    if arguments.bad_words is not None:
        yield files_of("bad words", arguments.bad_words, arguments.bad_words.iterdir())
    if arguments.language_identifier is not None:
        model = arguments.language_identifier
        yield files_of("identifier", model, [model])


def estimate_command(arguments: Clean) -> str:
    """Returns the command that measures a sample of the input."""
    return f"mswitch estimate {shlex.join(input_words(arguments))}"


def input_words(arguments: Clean | Estimate) -> list[str]:
    """Returns the words of a command line that name input and rules."""
    assert arguments.rules is not None  # `cleaning_request` completes them
    words = ["--input", *arguments.input, "--rules", arguments.rules]
    base = [] if arguments.crawl_base == COMMON_CRAWL else ["--crawl-base", arguments.crawl_base]
    return [*words, *base]

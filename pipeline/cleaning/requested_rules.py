"""The rules that the user requested: a named set, with the settings that may differ from it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.files.paths import absolute, local_copy
from data.language_id.fasttext import try_to_load
from data.reading.records import published_as
from data.rules import bad_words, rule_sets
from data.rules.bad_words import BadWordRule
from data.rules.held_out import ShareOfUnsplitPages, share_of_each_language
from data.rules.rule_sets import LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.arguments import Clean
from pipeline.cleaning.job import AnyRules
from pipeline.cleaning.shards import InputFile

MC4_SHARE = 0.001


def named(name: str) -> AnyRules:
    """Returns the rule set with this name.

    Raises:
        DataError: if there is none.
    """
    web = rule_sets.mswitch_web()
    return web if name == web.name else rule_sets.named(name)


def requested_rules(arguments: Clean) -> AnyRules:
    """Returns the named rules, with the user's settings of held-out pages.

    Raises:
        DataError: if there are no such rules, or the share is invalid.
    """
    assert arguments.rules is not None  # `completed` has them
    rules = named(arguments.rules)
    if arguments.validation_share is None and arguments.validation_minimum is None:
        return rules
    share = MC4_SHARE if arguments.validation_share is None else arguments.validation_share
    held_out = share_of_each_language(share, arguments.validation_minimum or 0)
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

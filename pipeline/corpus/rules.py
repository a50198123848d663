"""The rules of a cleaning job, by name, with what the user may set of them.

Set may be which pages are held out, lists of bad words, and a fastText model that identifies
languages. What the named rules do not use is refused.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.files.paths import absolute, local_copy
from data.language_id.fasttext import try_to_load
from data.reading.records import published_as
from data.rules import bad_words, rule_sets
from data.rules.bad_words import BadWordRule
from data.rules.held_out import (
    ShareOfEachLanguage,
    ShareOfUnsplitPages,
    share_of_each_language,
)
from data.rules.rule_sets import LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.corpus.read import InputFile

AnyRules = RuleSet | WebRuleSet | Untouched
MC4_SHARE = 0.001


def find_rules(name: str) -> AnyRules:
    """Returns the rule set with this name.

    Raises:
        DataError: if there is none.
    """
    web = rule_sets.mswitch_web()
    return web if name == web.name else rule_sets.find_rule_set(name)


def requested_rules(name: str, share: float | None, minimum: int | None) -> AnyRules:
    """Returns the named rules, with the user's settings of held-out pages.

    Args:
        name: name of the rule set.
        share: share of each language's pages to hold out; None for the rules' own.
        minimum: least number of them; None for the rules' own.

    Raises:
        DataError: if there are no such rules, or the share is invalid.
    """
    rules = find_rules(name)
    if share is None and minimum is None:
        return rules
    own, least = MC4_SHARE, 0
    if isinstance(rules.held_out, ShareOfEachLanguage):
        own, least = rules.held_out.share, rules.held_out.minimum
    held_out = share_of_each_language(
        own if share is None else share, least if minimum is None else minimum
    )
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


def trusts_declarations(rules: AnyRules) -> bool:
    """Returns whether a page's language is the declared one, which is known from the start."""
    return isinstance(rules, Untouched) or (
        isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION
    )

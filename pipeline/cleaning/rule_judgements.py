"""What a rule set judges of a page, and when: before and after the exchange of lines.

For `mswitch-web` there is a third list, before languages are decided (`describing`). Pages in
languages that were not requested are dropped as soon as the language is known.
"""

import functools

from data.rules import web_lines
from data.rules.english_lines import too_few_long_lines, too_few_sentences_left
from data.rules.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.cleaning import judgement
from pipeline.cleaning.job import CleaningJob, trusts_declarations
from pipeline.cleaning.judgement import Judgement, RejectByRule


def before_lines(rules: RuleSet) -> tuple[Judgement, ...]:
    """Returns what is judged before the exchange of lines."""
    if isinstance(rules.lines, EnglishLines):
        return (judgement.clean_english_lines,)
    least = rules.lines
    rule = functools.partial(too_few_long_lines, lines=least.lines, characters=least.characters)
    return (RejectByRule(rule),)


def after_lines(job: CleaningJob) -> tuple[Judgement, ...]:
    """Returns what is judged after the exchange of lines."""
    rules, words = job.rules, () if job.bad_words is None else (RejectByRule(job.bad_words),)
    if isinstance(rules, Untouched):
        return (judgement.use_declared_language,)
    if isinstance(rules, WebRuleSet):
        left = functools.partial(web_lines.too_few_long_lines_left, **_long_lines(rules))
        return (RejectByRule(left), *words)
    english = isinstance(rules.lines, EnglishLines)
    left = (RejectByRule(too_few_sentences_left),) if english else ()
    asked = () if trusts_declarations(rules) else requested(job)
    return (*left, _language(rules, job.identifier), *asked, *words)


def describing(job: CleaningJob, rules: WebRuleSet) -> tuple[Judgement, ...]:
    """Returns what `mswitch-web` judges before it decides languages."""
    rule = functools.partial(web_lines.too_few_long_lines, **_long_lines(rules))
    return (
        judgement.clean_web_lines,
        RejectByRule(rule),
        judgement.RecordLanguage(job.identifier),
    )


def requested(job: CleaningJob) -> tuple[Judgement, ...]:
    """Returns the judgement that drops pages in other languages than the requested ones."""
    if job.languages is None:
        return ()
    return (judgement.KeepRequestedLanguages(frozenset(job.languages)),)


def _language(rules: RuleSet, identifier: str | None) -> Judgement:
    if rules.language_by is LanguageBy.LANGDETECT:
        return judgement.KeepEnglish(rules.certain_probability)
    if rules.language_by is LanguageBy.DECLARATION:
        return judgement.CheckDeclaredLanguage(rules.certain_probability, identifier)
    return judgement.IdentifyLanguage(rules.certain_probability, identifier)


def _long_lines(rules: WebRuleSet) -> dict[str, int]:
    return {"lines": rules.long_lines.lines, "characters": rules.long_lines.characters}

"""The steps of a run, in order, by its rules; and the number of work items of each.

    none           read                                                      judge
    mc4, c4-en     read  newest                              claim  share    judge
    mswitch-web    read  newest  describe  resemble  alike   claim  share    judge
                                                    choose

The judgements of a rule set are three lists: before the exchange of lines, after it, and, for
`mswitch-web`, before languages are decided. Pages whose language was not asked for are removed as
soon as it is known: in `read` where declarations count, in `resemble` for `mswitch-web`, and in
`judge` for the rest, whose lines are exchanged before, among pages of all languages.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from data.rules import line_rules, web_lines
from data.rules.bad_words import BadWordRule
from data.rules.english_lines import too_few_sentences_left
from data.rules.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched
from data.rules.text_rules import too_few_long_lines, too_long
from data.rules.web_rules import WebRuleSet
from data.stores.files import join_path
from pipeline.beam.work_items import WorkStep
from pipeline.beam.workspace import Workspace
from pipeline.cleaning import broken, judgement
from pipeline.cleaning.alike import ChooseOne, ClaimKeys, DescribePages, FindAlike
from pipeline.cleaning.broken import BrokenFile
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.judgement import By, Judgement
from pipeline.cleaning.lines import ClaimLines, ShareLines
from pipeline.cleaning.newest import FindNewest
from pipeline.cleaning.read import ReadShard
from pipeline.cleaning.shards import Cut
from pipeline.cleaning.source import Source
from pipeline.cleaning.tally import Tally, tallies, total
from pipeline.cleaning.write import File, files

AnyRules = RuleSet | WebRuleSet | Untouched
NEWEST = "duplicate_url"
ALIKE = "near_duplicate"


# Raised when an unfinished job of an earlier version may not be resumed: other rules, other files
# in the workspace.
VERSION = 3


@dataclass(frozen=True, kw_only=True)
class CleaningJob:
    """The work of one run, and its sizes.

    Attributes:
        workspace: directory for the steps' results.
        rules: rule set that judges pages.
        asked: languages to keep, or None for all.
        listed: rule of the lists of bad words, if there are any.
        identifier: path of a fastText model, or None for CLD3.
        shards: number of shards.
        partitions: number of hash partitions.
        cut: sizes of shards, chunks and partitions.
        crawl_cache: directory for files fetched from a crawl; None to keep none.
    """

    workspace: Workspace
    rules: AnyRules
    asked: tuple[str, ...] | None
    listed: BadWordRule | None
    identifier: str | None
    shards: int
    partitions: int
    cut: Cut
    crawl_cache: str | None


class PlannedStep(NamedTuple):
    """A step and the number of its work items."""

    step: WorkStep
    items: int


def steps(job: CleaningJob) -> list[PlannedStep]:
    """Returns the steps of a job; each needs the results of the ones before."""
    space, rules, shards, partitions = job.workspace, job.rules, job.shards, job.partitions
    judging = not isinstance(rules, Untouched)
    first = ReadShard(
        workspace=space,
        asked=_asked(job) if declaration_counts(rules) else (),
        first_rules=(too_long,) if judging else (),
        one_page_an_address=judging,
        partitions=partitions,
        cut=job.cut,
        crawl_cache=job.crawl_cache,
    )
    last = JudgePages(space, _last(job), rules.held_out, judging, partitions)
    if isinstance(rules, Untouched):
        return [PlannedStep(first, shards), PlannedStep(last, shards)]
    newest = Source(ReadShard.step, FindNewest.step, partitions, NEWEST)
    if isinstance(rules, WebRuleSet):
        alike = _alike(job, rules, newest)
        source = Source(ClaimKeys.step, ChooseOne.step, 1, ALIKE, sizes_in=ChooseOne.step)
        claim = ClaimLines(space, source, (), rules.line_hashes, partitions)
    else:
        alike = []
        before = _before_lines(rules)
        claim = ClaimLines(space, newest, before, line_rules.line_hashes, partitions)
    return [
        PlannedStep(first, shards),
        PlannedStep(FindNewest(space, shards, partitions), partitions),
        *alike,
        PlannedStep(claim, shards),
        PlannedStep(ShareLines(space, shards, partitions), partitions),
        PlannedStep(last, shards),
    ]


def planned(job: CleaningJob) -> Iterator[File | BrokenFile]:
    """Yields the files of the corpus, when every page has been judged."""
    tally = total_of(job)
    yield from files(tally, job.rules.held_out)
    if tally.broken:
        yield broken.file(job.workspace, ReadShard.step, job.shards)


def total_of(job: CleaningJob) -> Tally:
    """Returns the sum of the tallies of all steps."""
    maximum = getattr(job.rules.held_out, "maximum", 0)
    names = [step.step for step, _ in steps(job)]
    found = (tally for name in names for tally in tallies(job.workspace, name))
    return total(found, held_out=maximum)


def files_of(job: CleaningJob) -> Iterator[str]:
    """Yields the paths of the corpus's files, when every page has been judged."""
    return (join_path(job.workspace.out, file.name) for file in planned(job))


def _alike(job: CleaningJob, rules: WebRuleSet, newest: Source) -> list[PlannedStep]:
    space, shards, partitions = job.workspace, job.shards, job.partitions
    rule = functools.partial(web_lines.too_few_long_lines, **_long_lines(rules))
    describe = DescribePages(
        space,
        newest,
        (judgement.clean_web_lines, By(rule), judgement.AskLanguage(job.identifier)),
    )
    return [
        PlannedStep(describe, shards),
        PlannedStep(ClaimKeys(space, rules.certainty, _asked(job), partitions), shards),
        PlannedStep(FindAlike(space, shards, partitions), partitions),
        PlannedStep(ChooseOne(space, shards, partitions), 1),
    ]


def _before_lines(rules: RuleSet) -> tuple[Judgement, ...]:
    if isinstance(rules.lines, EnglishLines):
        return (judgement.clean_english_lines,)
    asked = rules.lines
    rule = functools.partial(too_few_long_lines, lines=asked.lines, characters=asked.characters)
    return (By(rule),)


def _last(job: CleaningJob) -> tuple[Judgement, ...]:
    rules, words = job.rules, () if job.listed is None else (By(job.listed),)
    if isinstance(rules, Untouched):
        return (judgement.believe_declaration,)
    if isinstance(rules, WebRuleSet):
        left = functools.partial(web_lines.too_few_long_lines_left, **_long_lines(rules))
        return (By(left), *words)
    left = (By(too_few_sentences_left),) if isinstance(rules.lines, EnglishLines) else ()
    asked = () if declaration_counts(rules) else _asked(job)
    return (*left, _language(rules, job.identifier), *asked, *words)


def _asked(job: CleaningJob) -> tuple[Judgement, ...]:
    return () if job.asked is None else (judgement.KeepAskedLanguages(frozenset(job.asked)),)


def declaration_counts(rules: AnyRules) -> bool:
    """Returns whether a page's language is the declared one, which is known before any work."""
    return isinstance(rules, Untouched) or (
        isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION
    )


def _language(rules: RuleSet, identifier: str | None) -> Judgement:
    if rules.language_by is LanguageBy.LANGDETECT:
        return judgement.KeepEnglish(rules.certain_probability)
    if rules.language_by is LanguageBy.DECLARATION:
        return judgement.BelieveDeclaration(rules.certain_probability, identifier)
    return judgement.IdentifyLanguage(rules.certain_probability, identifier)


def _long_lines(rules: WebRuleSet) -> dict[str, int]:
    return {"lines": rules.long_lines.lines, "characters": rules.long_lines.characters}

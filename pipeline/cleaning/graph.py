"""The graph of a cleaning job: its steps in order, per rule set, and their numbers of work items.

    none           read                                                      judge
    mc4, c4-en     read  newest                              claim  share    judge
    mswitch-web    read  newest  describe  resemble  alike   claim  share    judge
                                                    choose

These are the names of the steps in the workspace: `read` (`ReadShard`), `newest` (`FindNewest`),
`describe`, `resemble`, `alike` and `choose` (`near_duplicates`), `claim` and `share`
(`duplicate_lines`), `judge` (`JudgePages`).

The judgements of a rule set are three lists: before the exchange of lines, after it, and, for
`mswitch-web`, before languages are decided. Pages in languages that were not requested are dropped
as soon as the language is known: in `read` where declarations count, in `resemble` for
`mswitch-web`, and in `judge` for the rest. There, lines are compared before, among pages of all
languages.
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
from pipeline.cleaning import broken_records, judgement, near_duplicates
from pipeline.cleaning.broken_records import BrokenFile
from pipeline.cleaning.duplicate_lines import FindDuplicateLines, SpillLineKeys
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.judgement import Judgement, RejectByRule
from pipeline.cleaning.newest_per_url import FindNewest
from pipeline.cleaning.read import DUPLICATE_URL, ReadShard
from pipeline.cleaning.shards import Cut
from pipeline.cleaning.spilled_pages import SpilledPages
from pipeline.cleaning.tally import Tally, tallies, total
from pipeline.cleaning.write import CorpusFile, corpus_files

AnyRules = RuleSet | WebRuleSet | Untouched

# Raised when an unfinished job of an earlier version may not be resumed: other rules, other files
# in the workspace.
VERSION = 3


@dataclass(frozen=True, kw_only=True)
class CleaningJob:
    """The settings and sizes of one cleaning job.

    Attributes:
        workspace: directory for the steps' results.
        rules: rule set that judges pages.
        languages: requested languages, or None for all.
        bad_words: rule of the lists of bad words, if there are any.
        identifier: path of a fastText model, or None for CLD3.
        shards: number of shards.
        partitions: number of hash partitions.
        cut: sizes of shards, chunks and partitions.
        crawl_cache: directory for files fetched from a crawl; None to keep none.
    """

    workspace: Workspace
    rules: AnyRules
    languages: tuple[str, ...] | None
    bad_words: BadWordRule | None
    identifier: str | None
    shards: int
    partitions: int
    cut: Cut
    crawl_cache: str | None


class GraphStep(NamedTuple):
    """A step and the number of its work items."""

    step: WorkStep
    items: int


def steps(job: CleaningJob) -> list[GraphStep]:
    """Returns the steps of a job; each needs the results of the ones before."""
    space, rules, shards, partitions = job.workspace, job.rules, job.shards, job.partitions
    judging = not isinstance(rules, Untouched)
    first = ReadShard(
        workspace=space,
        judgements=(
            *(_requested(job) if trusts_declarations(rules) else ()),
            *((RejectByRule(too_long),) if judging else ()),
        ),
        one_page_per_address=judging,
        partitions=partitions,
        cut=job.cut,
        crawl_cache=job.crawl_cache,
    )
    last = JudgePages(space, _after_lines(job), rules.held_out, judging, partitions)
    if isinstance(rules, Untouched):
        return [GraphStep(first, shards), GraphStep(last, shards)]
    newest = SpilledPages(ReadShard.step, FindNewest.step, partitions, DUPLICATE_URL)
    if isinstance(rules, WebRuleSet):
        before_lines = _near_duplicate_steps(job, rules, newest)
        source = near_duplicates.REPRESENTATIVES
        lines = SpillLineKeys(space, source, (), rules.line_hashes, partitions)
    else:
        before_lines = []
        rules_before = _before_lines(rules)
        lines = SpillLineKeys(space, newest, rules_before, line_rules.line_hashes, partitions)
    return [
        GraphStep(first, shards),
        GraphStep(FindNewest(space, shards, partitions), partitions),
        *before_lines,
        GraphStep(lines, shards),
        GraphStep(FindDuplicateLines(space, shards, partitions), partitions),
        GraphStep(last, shards),
    ]


def output_files(job: CleaningJob, tally: Tally) -> Iterator[CorpusFile | BrokenFile]:
    """Yields the files of the corpus, which follow from the tally of all steps."""
    yield from corpus_files(tally, job.rules.held_out)
    if tally.broken:
        yield broken_records.file(job.workspace, ReadShard.step, job.shards)


def total_of(job: CleaningJob) -> Tally:
    """Returns the sum of the tallies of all steps.

    Raises:
        DataError: if work items are missing.
    """
    maximum = getattr(job.rules.held_out, "maximum", 0)
    found = (
        tally for step, items in steps(job) for tally in tallies(job.workspace, step.step, items)
    )
    return total(found, held_out=maximum)


def files_to_write(job: CleaningJob) -> Iterator[CorpusFile | BrokenFile]:
    """Yields the files of the corpus; requires that every page has been judged."""
    return output_files(job, total_of(job))


def output_paths(job: CleaningJob, tally: Tally) -> Iterator[str]:
    """Yields the paths of the corpus's files, which follow from the tally of all steps."""
    return (join_path(job.workspace.out, file.name) for file in output_files(job, tally))


def trusts_declarations(rules: AnyRules) -> bool:
    """Returns whether a page's language is the declared one, which is known from the start."""
    return isinstance(rules, Untouched) or (
        isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION
    )


def _near_duplicate_steps(
    job: CleaningJob, rules: WebRuleSet, newest: SpilledPages
) -> list[GraphStep]:
    space, shards, partitions = job.workspace, job.shards, job.partitions
    rule = functools.partial(web_lines.too_few_long_lines, **_long_lines(rules))
    judgements = (
        judgement.clean_web_lines,
        RejectByRule(rule),
        judgement.RecordLanguage(job.identifier),
    )
    keys = near_duplicates.SpillMinHashKeys(space, rules.certainty, _requested(job), partitions)
    return [
        GraphStep(near_duplicates.DescribePages(space, newest, judgements), shards),
        GraphStep(keys, shards),
        GraphStep(near_duplicates.FindNearDuplicates(space, shards, partitions), partitions),
        GraphStep(near_duplicates.ChooseRepresentatives(space, shards, partitions), 1),
    ]


def _before_lines(rules: RuleSet) -> tuple[Judgement, ...]:
    if isinstance(rules.lines, EnglishLines):
        return (judgement.clean_english_lines,)
    least = rules.lines
    rule = functools.partial(too_few_long_lines, lines=least.lines, characters=least.characters)
    return (RejectByRule(rule),)


def _after_lines(job: CleaningJob) -> tuple[Judgement, ...]:
    rules, words = job.rules, () if job.bad_words is None else (RejectByRule(job.bad_words),)
    if isinstance(rules, Untouched):
        return (judgement.use_declared_language,)
    if isinstance(rules, WebRuleSet):
        left = functools.partial(web_lines.too_few_long_lines_left, **_long_lines(rules))
        return (RejectByRule(left), *words)
    english = isinstance(rules.lines, EnglishLines)
    left = (RejectByRule(too_few_sentences_left),) if english else ()
    requested = () if trusts_declarations(rules) else _requested(job)
    return (*left, _language(rules, job.identifier), *requested, *words)


def _requested(job: CleaningJob) -> tuple[Judgement, ...]:
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

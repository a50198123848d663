"""The graph of a cleaning job: its stages in order, per rule set.

    none           read                                                  judge
    mc4, c4-en     read  newest       claim  (repeated, duplicate)       judge
    mswitch-web    read  newest  ...  claim  (repeated, duplicate)       judge

    ...            describe  (thresholds)  resemble  (alike)  contract-00
                   [(nodes-00)  contract-01], repeated until no pair is left
                   candidates  (choose)

A stage is work on shards, or, in parentheses and `newest`, an exchange between them. These are
their names in the workspace.

The judgements of a rule set are three lists: before the exchange of lines, after it, and, for
`mswitch-web`, before languages are decided. Pages in languages that were not requested are dropped
as soon as the language is known: in `read` where declarations count, in `resemble` for
`mswitch-web`, and in `judge` for the rest. There, lines are compared before, among pages of all
languages.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from data.errors import DataError
from data.rules import line_rules, web_lines
from data.rules.bad_words import BadWordRule
from data.rules.english_lines import too_few_sentences_left
from data.rules.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched
from data.rules.text_rules import too_few_long_lines, too_long
from data.rules.web_rules import WebRuleSet
from data.stores.files import join_path
from pipeline.beam.waves import Round, Waves
from pipeline.beam.work_items import WorkStep
from pipeline.beam.workspace import Workspace, incomplete
from pipeline.cleaning import judgement
from pipeline.cleaning.corpus_files import corpus_plan
from pipeline.cleaning.corpus_files.corpus_plan import PlannedFile, PlannedGroup
from pipeline.cleaning.duplicate_lines import (
    FindDuplicateLines,
    FindRepeatedHashes,
)
from pipeline.cleaning.growth import delta
from pipeline.cleaning.growth.base_judge import Stages
from pipeline.cleaning.growth.corpus_files import EMPTY, FILES, KeepFile
from pipeline.cleaning.growth.keep import KeepShard
from pipeline.cleaning.growth.stages import Base, Course, with_base
from pipeline.cleaning.growth.verdicts import Decided
from pipeline.cleaning.judge import JudgePages
from pipeline.cleaning.judgement import Judgement, RejectByRule, mc4_languages
from pipeline.cleaning.line_keys import SpillLineKeys
from pipeline.cleaning.near_duplicates.choice import ChoosePages, SpillCandidates, kept_pages
from pipeline.cleaning.near_duplicates.groups import AskForNodes, ContractPairs
from pipeline.cleaning.near_duplicates.keys import PairPages, SpillMinHashKeys
from pipeline.cleaning.near_duplicates.languages import DecideThresholds, DescribePages
from pipeline.cleaning.newest_per_url import FindNewest
from pipeline.cleaning.read import DUPLICATE_URL, ReadShard
from pipeline.cleaning.shards import Cut
from pipeline.cleaning.spills.spilled_pages import SpilledPages
from pipeline.cleaning.tally import Tally, tallies, total

AnyRules = RuleSet | WebRuleSet | Untouched

# Raised when an unfinished job of an earlier version may not be resumed: other rules, other files
# in the workspace.
VERSION = 7

# Partitions of lines per partition of another exchange, so that both have as many bytes of keys.
LINES, MINHASH, ADDRESSES, CANDIDATES = 1, 2, 8, 1
PARTITIONS_AT_ONCE = 8  # of 4 to 10 MB of keys, which the embedded runner holds some six times


@dataclass(frozen=True, kw_only=True)
class CleaningJob:
    """The settings and sizes of one cleaning job.

    Attributes:
        workspace: directory for the steps' results.
        rules: rule set that judges pages.
        languages: requested languages, or None for all.
        bad_words: rule of the lists of bad words, if there are any.
        identifier: path of a fastText model, or None; it replaces CLD3, or joins it in
            `mswitch-web`.
        shards: number of shards.
        partitions: number of hash partitions of the keys of lines.
        in_waves: whether the runner holds what it groups in memory, so that exchanges take waves.
        cut: sizes of shards, chunks and partitions.
        crawl_cache: directory for files fetched from a crawl; None to keep none.
        growable: whether what an addition needs is kept beside the corpus.
        base: corpus that the job adds to, whose shards are the first; None for none.
    """

    workspace: Workspace
    rules: AnyRules
    languages: tuple[str, ...] | None
    bad_words: BadWordRule | None
    identifier: str | None
    shards: int
    partitions: int
    in_waves: bool
    cut: Cut
    crawl_cache: str | None
    growable: bool = False
    base: Base | None = None

    def waves(self, fewer: int) -> Waves:
        """Returns the waves of an exchange with `fewer` times fewer partitions than lines have."""
        partitions = max(1, self.partitions // fewer)
        return Waves(partitions, PARTITIONS_AT_ONCE if self.in_waves else partitions)


@dataclass(frozen=True)
class Exchange:
    """Rounds that shards exchange, one after the other, wave by wave."""

    rounds: tuple[Round, ...]
    waves: Waves


@dataclass(frozen=True)
class Rounds:
    """Rounds that are repeated until no pair of pages is left.

    Attributes:
        alike: waves of the exchange that found the pairs.
        asked: waves of each round.
    """

    alike: Waves
    asked: Waves

    def stages(self, workspace: Workspace, number: int) -> list["Stage"]:
        """Returns the stages of one round."""
        asks = AskForNodes(workspace, number, self.asked.partitions)
        contract = ContractPairs(workspace, number + 1, self.alike, self.asked)
        return [Exchange((asks,), self.asked), contract]


Stage = WorkStep | Exchange | Rounds


def stages(job: CleaningJob) -> list[Stage]:
    """Returns the stages of a job; each needs the results of the ones before."""
    found = _stages(job)
    judge = found[-1]
    assert isinstance(judge, JudgePages)
    if job.base is not None:
        found = with_base(found, job.base, _course(job), judge)
    if not job.growable:
        return found
    steps = tuple(one.step for one in found if not isinstance(one, Exchange | Rounds))
    base, decided = job.base, _decided(job)
    last = KeepShard(
        workspace=job.workspace,
        steps=steps,
        one_page_per_line=judge.one_page_per_line,
        decided=decided,
        found=base and base.found,
        base_shards=base.shards if base else 0,
    )
    return [*found, last]


def _stages(job: CleaningJob) -> list[Stage]:
    """Returns the stages of a job that adds to nothing and keeps nothing; the last is `judge`."""
    space, rules = job.workspace, job.rules
    judging = not isinstance(rules, Untouched)
    first = ReadShard(
        workspace=space,
        judgements=(
            *(_requested(job) if trusts_declarations(rules) else ()),
            *((RejectByRule(too_long),) if judging else ()),
        ),
        one_page_per_address=judging,
        cut=job.cut,
        crawl_cache=job.crawl_cache,
    )
    addresses, lines = job.waves(ADDRESSES), job.waves(LINES)
    keeps = job.growable and judging
    last = JudgePages(space, _after_lines(job), rules.held_out, judging, lines, keeps)
    if isinstance(rules, Untouched):
        return [first, last]
    newest = SpilledPages(ReadShard.step, FindNewest.step, addresses, DUPLICATE_URL)
    if isinstance(rules, WebRuleSet):
        before_lines = _near_duplicate_stages(job, rules, newest)
        source = kept_pages(job.waves(CANDIDATES))
        claim = SpillLineKeys(space, source, (), rules.line_hashes, lines.partitions)
    else:
        before_lines = []
        rules_before = _before_lines(rules)
        claim = SpillLineKeys(space, newest, rules_before, line_rules.line_hashes, lines.partitions)
    return [
        first,
        Exchange((FindNewest(space, addresses.partitions),), addresses),
        *before_lines,
        claim,
        Exchange(
            (
                FindRepeatedHashes(space, lines.partitions),
                FindDuplicateLines(space, lines.partitions),
            ),
            lines,
        ),
        last,
    ]


def work_of(job: CleaningJob) -> list[WorkStep]:
    """Returns the stages that are work on shards, in order."""
    return [stage for stage in stages(job) if not isinstance(stage, Exchange | Rounds)]


def total_of(job: CleaningJob) -> Tally:
    """Returns the sum of the tallies of all work on shards.

    Raises:
        DataError: if work items are missing.
    """
    found = (
        tally for step in work_of(job) for tally in tallies(job.workspace, step.step, job.shards)
    )
    return total(found)


def output_paths(job: CleaningJob, tally: Tally) -> Iterator[str]:
    """Yields the paths of the corpus's files, as its groups' plans name them.

    Raises:
        DataError: if the plan of a group is missing.
    """
    plans = planned_groups(job, tally)
    out, base = job.workspace.out, kept_files(job)
    names = [file.name for plan in plans for file in plan.files] + [file.name for file in base]
    return (join_path(out, name) for name in [*names, *([delta.NAME] if job.base else [])])


def planned_groups(job: CleaningJob, tally: Tally) -> list[PlannedGroup]:
    """Returns the plans of the groups of pages that the job wrote.

    Raises:
        DataError: if the plan of a group is missing.
    """
    plans = list(job.workspace.left(corpus_plan.PLAN, PlannedGroup))
    groups = len(tally.groups) + bool(tally.broken)
    if missing := groups - len(plans):
        raise DataError(incomplete(f"{missing} groups of pages", job.workspace.out))
    return plans


def kept_files(job: CleaningJob) -> list[PlannedFile]:
    """Returns the files of the corpus that was added to, without those that lost all rows.

    Raises:
        DataError: if work items are missing.
    """
    if job.base is None:
        return []
    files = job.base.found.facts().files
    found = tallies(job.workspace, KeepFile.step, len(files))
    return [
        file for file, tally in zip(files, found, strict=True) if not tally.counts[FILES, "", EMPTY]
    ]


def trusts_declarations(rules: AnyRules) -> bool:
    """Returns whether a page's language is the declared one, which is known from the start."""
    return isinstance(rules, Untouched) or (
        isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION
    )


def _decided(job: CleaningJob) -> Decided:
    return Decided(
        workspace=job.workspace,
        addresses=job.waves(ADDRESSES),
        candidates=job.waves(CANDIDATES),
        lines=job.waves(LINES),
        has_near_duplicates=isinstance(job.rules, WebRuleSet),
    )


def _course(job: CleaningJob) -> Course:
    """Returns how the job's pages meet each other."""
    rules, minhash = job.rules, job.waves(MINHASH).partitions
    if isinstance(rules, Untouched):
        return Course(_decided(job), Stages((), (), False), None, None, minhash)
    if isinstance(rules, RuleSet):
        first = Stages(_before_lines(rules), (), False)
        return Course(_decided(job), first, None, line_rules.line_hashes, minhash)
    first = Stages(_describing(job, rules), _requested(job), True)
    asked = mc4_languages() if job.languages is None else frozenset(job.languages)
    return Course(_decided(job), first, asked, rules.line_hashes, minhash)


def _describing(job: CleaningJob, rules: WebRuleSet) -> tuple[Judgement, ...]:
    rule = functools.partial(web_lines.too_few_long_lines, **_long_lines(rules))
    return (
        judgement.clean_web_lines,
        RejectByRule(rule),
        judgement.RecordLanguage(job.identifier),
    )


def _near_duplicate_stages(
    job: CleaningJob, rules: WebRuleSet, newest: SpilledPages
) -> list[Stage]:
    judgements = _describing(job, rules)
    space, keys, nodes = job.workspace, job.waves(MINHASH), job.waves(ADDRESSES)
    candidates = job.waves(CANDIDATES)
    return [
        DescribePages(space, newest, judgements),
        Exchange((DecideThresholds(space, rules.certainty),), Waves(1, 1)),
        SpillMinHashKeys(space, rules.certainty, _requested(job), keys.partitions),
        Exchange((PairPages(space, keys.partitions),), keys),
        ContractPairs(space, 0, keys, nodes),
        Rounds(keys, nodes),
        SpillCandidates(space, candidates.partitions),
        Exchange((ChoosePages(space, candidates.partitions),), candidates),
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

"""The plan of a cleaning job: its stages in order, per rule set, and what each of them judges.

    none           read                                                  judge
    mc4, c4-en     read  newest       claim  (repeated, duplicate)       judge
    mswitch-web    read  newest  ...  claim  (repeated, duplicate)       judge

    ...            describe  (thresholds)  resemble  (alike)  contract-00
                   [(nodes-00)  contract-01], repeated until no pair is left
                   candidates  (choose)

A stage is a step on each shard or, in parentheses and for `newest`, an exchange between shards. The
names are those in the workspace. A page is judged when it is read, before lines are compared, and
after that; with `mswitch-web` also before languages are decided (`PageRules`).

Pages in languages that were not requested leave as soon as their language is known: in `read` where
the declared language counts, in `resemble` under `mswitch-web`, and otherwise in `judge`, because
lines are compared among pages of all languages first.
"""

import functools
from collections.abc import Callable

from data.dedup import line_dedup
from data.rules import web_lines
from data.rules.english_lines import too_few_long_lines, too_few_sentences_left, too_long
from data.rules.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.beam.job import Stage, Step
from pipeline.corpus import judgements
from pipeline.corpus.addresses import FindNewest
from pipeline.corpus.job import (
    ADDRESSES,
    CANDIDATES,
    LINES,
    MINHASH,
    PAIRS,
    CleaningJob,
)
from pipeline.corpus.judge import JudgePages
from pipeline.corpus.judgements import (
    DecideThresholds,
    DescribePages,
    Judgement,
    PageRules,
    RejectByRule,
    SpilledPages,
    mc4_languages,
)
from pipeline.corpus.lines import FindDuplicateLines, FindRepeatedHashes, SpillLineKeys
from pipeline.corpus.near_duplicates import (
    NEAR_DUPLICATE,
    SIZES,
    ChoosePages,
    ContractPairs,
    PairPages,
    SpillCandidates,
    SpillMinHashKeys,
)
from pipeline.corpus.onto.base import BaseShards
from pipeline.corpus.onto.keep import KeepShard
from pipeline.corpus.onto.rejudge import over_base
from pipeline.corpus.onto.verdicts import Exchanges
from pipeline.corpus.read import DUPLICATE_URL, ReadShard
from pipeline.corpus.rules import trusts_declarations


def plan(job: CleaningJob) -> list[Stage]:
    """Returns the stages of a job; each needs the results of the ones before."""
    rules = page_rules(job)
    stages, exchanges = _own_stages(job, rules)
    if job.base is not None:
        asked = mc4_languages()
        asked = asked if job.languages is None else asked & frozenset(job.languages)
        stages = [*over_base(stages, BaseShards(job.base, exchanges, rules, asked))]
    if job.growable:
        names = tuple(step.name for step in stages if not isinstance(step, tuple))
        stages.append(KeepShard(job.workspace, names, exchanges, job.base))
    return stages


def steps(job: CleaningJob) -> list[Step]:
    """Returns the steps of a job, in order."""
    return [stage for stage in plan(job) if not isinstance(stage, tuple)]


def _own_stages(job: CleaningJob, rules: PageRules) -> tuple[list[Stage], Exchanges | None]:
    """Returns the stages of a job that adds to nothing, and the exchanges that judge pages."""
    space, held_out = job.workspace, job.rules.held_out
    if isinstance(job.rules, Untouched):
        read = ReadShard(space, rules.read, False, job.cut, job.crawl_cache)
        return [read, JudgePages(space, rules.last, held_out, lines=None)], None
    read = ReadShard(space, rules.read, True, job.cut, job.crawl_cache)
    newest = FindNewest(space, job.waves(ADDRESSES))
    pages = SpilledPages(ReadShard.name, newest, DUPLICATE_URL)
    waves = job.waves(LINES)
    repeated, lines = FindRepeatedHashes(space, waves), FindDuplicateLines(space, waves)
    judge = JudgePages(space, rules.last, held_out, lines, job.growable)
    if isinstance(job.rules, RuleSet):
        claim = SpillLineKeys(space, pages, rules.first, line_dedup.line_hashes, waves.partitions)
        return [read, (newest,), claim, (repeated, lines), judge], Exchanges(newest, lines)
    describe = DescribePages(space, pages, rules.first)
    thresholds = DecideThresholds(space, job.rules.certainty)
    alike = PairPages(space, job.waves(MINHASH))
    resemble = SpillMinHashKeys(space, thresholds, rules.requested, alike.waves.partitions)
    contract = ContractPairs(alike, job.waves(PAIRS))
    choose = ChoosePages(space, job.waves(CANDIDATES))
    candidates = SpillCandidates(space, choose.waves.partitions)
    pages = SpilledPages(SpillMinHashKeys.name, choose, NEAR_DUPLICATE, SIZES)
    claim = SpillLineKeys(space, pages, (), job.rules.line_hashes, waves.partitions)
    stages = [
        read, (newest,),
        describe, (thresholds,), resemble, (alike,), contract, candidates, (choose,),
        claim, (repeated, lines), judge,
    ]  # fmt: skip
    return stages, Exchanges(newest, lines, thresholds, choose)


def page_rules(job: CleaningJob) -> PageRules:
    """Returns the judgements of a job."""
    rules = job.rules
    requested: tuple[Judgement, ...] = ()
    if job.languages is not None:
        requested = (judgements.KeepRequestedLanguages(frozenset(job.languages)),)
    read = requested if trusts_declarations(rules) else ()
    if isinstance(rules, Untouched):
        return PageRules(read, (), (), (judgements.use_declared_language,))
    read = *read, RejectByRule(too_long)
    words = () if job.bad_words is None else (RejectByRule(job.bad_words),)
    if isinstance(rules, WebRuleSet):
        lines, characters = rules.long_lines.lines, rules.long_lines.characters
        return PageRules(
            read=read,
            first=(
                judgements.clean_web_lines,
                _rule(web_lines.too_few_long_lines, lines, characters),
                judgements.RecordLanguage(job.identifier),
            ),
            requested=requested,
            last=(_rule(web_lines.too_few_long_lines_left, lines, characters), *words),
        )
    language = _language(rules, job.identifier)
    asked = () if trusts_declarations(rules) else requested
    if isinstance(rules.lines, EnglishLines):
        last = RejectByRule(too_few_sentences_left), language, *asked, *words
        return PageRules(read, (judgements.clean_english_lines,), (), last)
    first = _rule(too_few_long_lines, rules.lines.lines, rules.lines.characters)
    return PageRules(read, (first,), (), (language, *asked, *words))


def _rule(rule: Callable[..., str | None], lines: int, characters: int) -> RejectByRule:
    return RejectByRule(functools.partial(rule, lines=lines, characters=characters))


def _language(rules: RuleSet, identifier: str | None) -> Judgement:
    if rules.language_by is LanguageBy.LANGDETECT:
        return judgements.KeepEnglish(rules.certain_probability)
    if rules.language_by is LanguageBy.DECLARATION:
        return judgements.CheckDeclaredLanguage(rules.certain_probability, identifier)
    return judgements.IdentifyLanguage(rules.certain_probability, identifier)

"""The graph of a cleaning job: its stages in order, per rule set, and what each of them judges.

    none           read                                                  judge
    mc4, c4-en     read  newest       claim  (repeated, duplicate)       judge
    mswitch-web    read  newest  ...  claim  (repeated, duplicate)       judge

    ...            describe  (thresholds)  resemble  (alike)  contract-00
                   [(nodes-00)  contract-01], repeated until no pair is left
                   candidates  (choose)

A stage is work on one shard or, in parentheses and for `newest`, an exchange between shards. The
names are those in the workspace. Pages are judged before the exchange of lines (`before_lines`) and
after it (`after_lines`), with `mswitch-web` also before languages are decided (`describing`).

Pages in languages that were not requested leave as soon as their language is known: in `read` where
the declared language counts, in `resemble` under `mswitch-web`, and otherwise in `judge`, because
lines are compared among pages of all languages first.
"""

import functools
from dataclasses import dataclass

from data.dedup import line_dedup
from data.rules import web_lines
from data.rules.english_lines import too_few_long_lines, too_few_sentences_left, too_long
from data.rules.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.beam.job import WorkStep
from pipeline.beam.workspace import Round, Waves, Workspace
from pipeline.corpus import judgements
from pipeline.corpus.addresses import FindNewest
from pipeline.corpus.job import (
    ADDRESSES,
    CANDIDATES,
    LINES,
    MINHASH,
    CleaningJob,
    trusts_declarations,
)
from pipeline.corpus.judge import JudgePages
from pipeline.corpus.judgements import (
    DecideThresholds,
    DescribePages,
    Judgement,
    RejectByRule,
    SpilledPages,
    mc4_languages,
)
from pipeline.corpus.lines import FindDuplicateLines, FindRepeatedHashes, SpillLineKeys
from pipeline.corpus.near_duplicates import (
    AskForNodes,
    ChoosePages,
    ContractPairs,
    PairPages,
    SpillCandidates,
    SpillMinHashKeys,
    kept_pages,
)
from pipeline.corpus.onto.keep import KeepShard
from pipeline.corpus.onto.stages import AdditionContext, Stages, with_base
from pipeline.corpus.onto.verdicts import Decided
from pipeline.corpus.read import DUPLICATE_URL, ReadShard


def before_lines(rules: RuleSet) -> tuple[Judgement, ...]:
    """Returns what is judged before the exchange of lines."""
    if isinstance(rules.lines, EnglishLines):
        return (judgements.clean_english_lines,)
    least = rules.lines
    rule = functools.partial(too_few_long_lines, lines=least.lines, characters=least.characters)
    return (RejectByRule(rule),)


def after_lines(job: CleaningJob) -> tuple[Judgement, ...]:
    """Returns what is judged after the exchange of lines."""
    rules, words = job.rules, () if job.bad_words is None else (RejectByRule(job.bad_words),)
    if isinstance(rules, Untouched):
        return (judgements.use_declared_language,)
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
        judgements.clean_web_lines,
        RejectByRule(rule),
        judgements.RecordLanguage(job.identifier),
    )


def requested(job: CleaningJob) -> tuple[Judgement, ...]:
    """Returns the judgement that drops pages in other languages than the requested ones."""
    if job.languages is None:
        return ()
    return (judgements.KeepRequestedLanguages(frozenset(job.languages)),)


def _language(rules: RuleSet, identifier: str | None) -> Judgement:
    if rules.language_by is LanguageBy.LANGDETECT:
        return judgements.KeepEnglish(rules.certain_probability)
    if rules.language_by is LanguageBy.DECLARATION:
        return judgements.CheckDeclaredLanguage(rules.certain_probability, identifier)
    return judgements.IdentifyLanguage(rules.certain_probability, identifier)


def _long_lines(rules: WebRuleSet) -> dict[str, int]:
    return {"lines": rules.long_lines.lines, "characters": rules.long_lines.characters}


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
    found, judge = _stages(job), _judge(job)
    if job.base is not None:
        found = with_base(found, job.base, _addition_context(job), judge)
    if not job.growable:
        return found
    steps = tuple(one.step for one in found if not isinstance(one, Exchange | Rounds))
    base, decided = job.base, _decided(job)
    last = KeepShard(
        workspace=job.workspace,
        steps=steps,
        one_page_per_line=judge.one_page_per_line,
        decided=decided,
        growth=base and base.growth,
        base_shards=base.shards if base else 0,
    )
    return [*found, last]


def _stages(job: CleaningJob) -> list[Stage]:
    """Returns the stages of a job that adds to nothing and keeps nothing."""
    space, rules = job.workspace, job.rules
    if isinstance(rules, Untouched):
        return [_read(job), _judge(job)]
    addresses, lines = job.waves(ADDRESSES), job.waves(LINES)
    newest = SpilledPages(ReadShard.step, FindNewest.step, addresses, DUPLICATE_URL)
    if isinstance(rules, WebRuleSet):
        before = _near_duplicate_stages(job, rules, newest)
        source = kept_pages(job.waves(CANDIDATES))
        claim = SpillLineKeys(space, source, (), rules.line_hashes, lines.partitions)
    else:
        before, judged = [], before_lines(rules)
        claim = SpillLineKeys(space, newest, judged, line_dedup.line_hashes, lines.partitions)
    repeated = (
        FindRepeatedHashes(space, lines.partitions),
        FindDuplicateLines(space, lines.partitions),
    )
    return [
        _read(job),
        Exchange((FindNewest(space, addresses.partitions),), addresses),
        *before,
        claim,
        Exchange(repeated, lines),
        _judge(job),
    ]


def _read(job: CleaningJob) -> ReadShard:
    """Returns the first stage, which rejects what a page alone shows to be useless."""
    judging = not isinstance(job.rules, Untouched)
    return ReadShard(
        workspace=job.workspace,
        judgements=(
            *(requested(job) if trusts_declarations(job.rules) else ()),
            *((RejectByRule(too_long),) if judging else ()),
        ),
        one_page_per_address=judging,
        cut=job.cut,
        crawl_cache=job.crawl_cache,
    )


def _judge(job: CleaningJob) -> JudgePages:
    """Returns the last stage, which applies the rules that need whole pages and writes them."""
    judging = not isinstance(job.rules, Untouched)
    return JudgePages(
        workspace=job.workspace,
        judgements=after_lines(job),
        held_out=job.rules.held_out,
        one_page_per_line=judging,
        waves=job.waves(LINES),
        growable=job.growable and judging,
    )


def work_of(job: CleaningJob) -> list[WorkStep]:
    """Returns the stages that are work on shards, in order."""
    return [stage for stage in stages(job) if not isinstance(stage, Exchange | Rounds)]


def _decided(job: CleaningJob) -> Decided:
    return Decided(
        workspace=job.workspace,
        addresses=job.waves(ADDRESSES),
        candidates=job.waves(CANDIDATES),
        lines=job.waves(LINES),
        has_near_duplicates=isinstance(job.rules, WebRuleSet),
    )


def _addition_context(job: CleaningJob) -> AdditionContext:
    """Returns how the job's pages meet each other."""
    rules, minhash = job.rules, job.waves(MINHASH).partitions
    if isinstance(rules, Untouched):
        return AdditionContext(_decided(job), Stages((), (), False), None, None, minhash)
    if isinstance(rules, RuleSet):
        first = Stages(before_lines(rules), (), False)
        return AdditionContext(_decided(job), first, None, line_dedup.line_hashes, minhash)
    first = Stages(describing(job, rules), requested(job), True)
    asked = mc4_languages() if job.languages is None else frozenset(job.languages)
    return AdditionContext(_decided(job), first, asked, rules.line_hashes, minhash)


def _near_duplicate_stages(
    job: CleaningJob, rules: WebRuleSet, newest: SpilledPages
) -> list[Stage]:
    judgements = describing(job, rules)
    space, keys, nodes = job.workspace, job.waves(MINHASH), job.waves(ADDRESSES)
    candidates = job.waves(CANDIDATES)
    return [
        DescribePages(space, newest, judgements),
        Exchange((DecideThresholds(space, rules.certainty),), Waves(1, 1)),
        SpillMinHashKeys(space, rules.certainty, requested(job), keys.partitions),
        Exchange((PairPages(space, keys.partitions),), keys),
        ContractPairs(space, 0, keys, nodes),
        Rounds(keys, nodes),
        SpillCandidates(space, candidates.partitions),
        Exchange((ChoosePages(space, candidates.partitions),), candidates),
    ]

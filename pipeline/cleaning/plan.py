"""The steps of a run, in order, by its rules; and how many pieces of work each has.

    none           read                                                      judge
    mc4, c4-en     read  newest                              claim  share    judge
    mswitch-web    read  newest  describe  resemble  alike   claim  share    judge
                                                    choose

What a rule set asks of a page lies in three lists of judgements: before the exchange of lines, when
every line has found its page, and, for `mswitch-web`, before languages are decided. Whether its
language was asked for is the next question once it is known: in `read` where declarations are
believed, in `resemble` for `mswitch-web`, and in `judge` for the rest, where lines are exchanged
before, among pages of all languages.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from data.errors import DataError
from data.rules import line_rules, web_lines
from data.rules.bad_words import BadWordRule
from data.rules.english_lines import too_few_sentences_left
from data.rules.rule_sets import EnglishLines, LanguageBy, RuleSet, Untouched
from data.rules.text_rules import too_few_long_lines, too_long
from data.rules.web_rules import WebRuleSet
from pipeline import storage
from pipeline.beam.pieces import Step
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
from pipeline.cleaning.tally import Tally, total
from pipeline.cleaning.workspace import Workspace
from pipeline.cleaning.write import File, files

AnyRules = RuleSet | WebRuleSet | Untouched
NEWEST = "duplicate_url"
ALIKE = "near_duplicate"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run does, and how it is cut.

    Attributes:
        workspace: where steps leave their results.
        rules: by which pages are judged.
        asked: languages to keep, or None for all.
        listed: rule of the lists of bad words, if there are any.
        identifier: path of a fastText model, or None for CLD3.
        shards: how many there are.
        partitions: how many there are.
        cut: how input is cut.
        listing: path of the list of the shards' files.
        crawl_cache: where files that are fetched from a crawl are kept; None for nowhere.
    """

    workspace: Workspace
    rules: AnyRules
    asked: tuple[str, ...] | None
    listed: BadWordRule | None
    identifier: str | None
    shards: int
    partitions: int
    cut: Cut
    listing: str
    crawl_cache: str | None


class Pieces(NamedTuple):
    """A step and the number of its pieces."""

    step: Step
    number: int


def steps(job: Job) -> list[Pieces]:
    """Returns the steps of a job, each to be performed when the one before is done."""
    space, rules, shards, partitions = job.workspace, job.rules, job.shards, job.partitions
    judging = not isinstance(rules, Untouched)
    first = ReadShard(
        workspace=space,
        asked=_asked(job) if believes_declarations(rules) else (),
        first_rules=(too_long,) if judging else (),
        one_page_an_address=judging,
        partitions=partitions,
        cut=job.cut,
        listing=job.listing,
        crawl_cache=job.crawl_cache,
    )
    last = JudgePages(space, _last(job), rules.held_out, judging, partitions)
    if isinstance(rules, Untouched):
        return [Pieces(first, shards), Pieces(last, shards)]
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
        Pieces(first, shards),
        Pieces(FindNewest(space, shards, partitions), partitions),
        *alike,
        Pieces(claim, shards),
        Pieces(ShareLines(space, shards, partitions), partitions),
        Pieces(last, shards),
    ]


def planned(job: Job) -> Iterator[File | BrokenFile]:
    """Yields the files of the corpus, when every page has been judged."""
    tally = whole(job)
    yield from files(tally, job.rules.held_out)
    if tally.broken:
        yield broken.file(job.workspace, ReadShard.step, job.shards)


def whole(job: Job) -> Tally:
    """Returns the sum of the tallies of all steps."""
    maximum = getattr(job.rules.held_out, "maximum", 0)
    names = [step.step for step, _ in steps(job)]
    tallies = (tally for name in names for tally in job.workspace.tallies(name))
    return total(tallies, held_out=maximum)


def check_complete(job: Job) -> None:
    """Checks that a job that ended well has done all its work, whatever the runner says.

    Raises:
        DataError: pieces of work or files of the corpus are not there.
    """
    space = job.workspace
    missing = sum(count - len(space.done(step.step)) for step, count in steps(job))
    files = 0 if missing else sum(not storage.exists(path) for path in _paths(job))
    if missing or files:
        raise DataError(
            f"The runner says that the job ended well, but {missing} pieces of work and {files} "
            f"files of {space.out} are not there; do the workers reach it? Run the same command "
            "again: it goes on where the run stopped."
        )


def _paths(job: Job) -> Iterator[str]:
    return (storage.join(job.workspace.out, file.name) for file in planned(job))


def _alike(job: Job, rules: WebRuleSet, newest: Source) -> list[Pieces]:
    space, shards, partitions = job.workspace, job.shards, job.partitions
    rule = functools.partial(web_lines.too_few_long_lines, **_long_lines(rules))
    describe = DescribePages(
        space,
        newest,
        (judgement.clean_web_lines, By(rule), judgement.AskLanguage(job.identifier)),
    )
    return [
        Pieces(describe, shards),
        Pieces(ClaimKeys(space, rules.certainty, _asked(job), partitions), shards),
        Pieces(FindAlike(space, shards, partitions), partitions),
        Pieces(ChooseOne(space, shards, partitions), 1),
    ]


def _before_lines(rules: RuleSet) -> tuple[Judgement, ...]:
    if isinstance(rules.lines, EnglishLines):
        return (judgement.clean_english_lines,)
    asked = rules.lines
    rule = functools.partial(too_few_long_lines, lines=asked.lines, characters=asked.characters)
    return (By(rule),)


def _last(job: Job) -> tuple[Judgement, ...]:
    rules, words = job.rules, () if job.listed is None else (By(job.listed),)
    if isinstance(rules, Untouched):
        return (judgement.believe_declaration,)
    if isinstance(rules, WebRuleSet):
        left = functools.partial(web_lines.too_few_long_lines_left, **_long_lines(rules))
        return (By(left), *words)
    left = (By(too_few_sentences_left),) if isinstance(rules.lines, EnglishLines) else ()
    asked = () if believes_declarations(rules) else _asked(job)
    return (*left, _language(rules, job.identifier), *asked, *words)


def _asked(job: Job) -> tuple[Judgement, ...]:
    return () if job.asked is None else (judgement.KeepAskedLanguages(frozenset(job.asked)),)


def believes_declarations(rules: AnyRules) -> bool:
    """Says whether a page's language is what its file declares, known before any work."""
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

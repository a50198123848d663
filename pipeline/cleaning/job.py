"""One cleaning job: its rules, sizes and settings."""

from dataclasses import dataclass

from data.rules.bad_words import BadWordRule
from data.rules.rule_sets import LanguageBy, RuleSet, Untouched, WebRuleSet
from pipeline.beam.waves import Waves
from pipeline.beam.workspace import Workspace
from pipeline.cleaning.growth.stages import Base
from pipeline.cleaning.shards import Cut

AnyRules = RuleSet | WebRuleSet | Untouched

# Raised when an unfinished job of an earlier version may not be resumed: other rules, other files
# in the workspace.
VERSION = 10

# Partitions of lines per partition of another exchange, so that both have as many bytes of keys.
LINES, MINHASH, ADDRESSES, CANDIDATES = 1, 2, 8, 1
PARTITIONS_AT_ONCE = 8  # of 4 to 10 MB of keys, which the embedded runner holds some six times


@dataclass(frozen=True, kw_only=True)
class CleaningJob:
    """The settings and sizes of one cleaning job.

    Attributes:
        workspace: directory for the steps' results.
        rules: rule set that judges pages.
        shards: number of shards.
        partitions: number of hash partitions of the keys of lines.
        in_waves: whether the runner holds what it groups in memory, so that exchanges take waves.
        cut: sizes of shards, chunks and partitions.
        languages: requested languages, or None for all.
        bad_words: rule of the lists of bad words, if there are any.
        identifier: path of a fastText model, or None; it replaces CLD3, or joins it in
            `mswitch-web`.
        crawl_cache: directory for files fetched from a crawl; None to keep none.
        growable: whether what an addition needs is kept beside the corpus.
        base: corpus that the job adds to, whose shards are the first; None for none.
    """

    workspace: Workspace
    rules: AnyRules
    shards: int
    partitions: int
    in_waves: bool
    cut: Cut
    languages: tuple[str, ...] | None = None
    bad_words: BadWordRule | None = None
    identifier: str | None = None
    crawl_cache: str | None = None
    growable: bool = False
    base: Base | None = None

    def waves(self, fewer: int) -> Waves:
        """Returns the waves of an exchange with `fewer` times fewer partitions than lines have."""
        partitions = max(1, self.partitions // fewer)
        return Waves(partitions, PARTITIONS_AT_ONCE if self.in_waves else partitions)


def trusts_declarations(rules: AnyRules) -> bool:
    """Returns whether a page's language is the declared one, which is known from the start."""
    return isinstance(rules, Untouched) or (
        isinstance(rules, RuleSet) and rules.language_by is LanguageBy.DECLARATION
    )

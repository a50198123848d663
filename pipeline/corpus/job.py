"""A cleaning job: its rules, sizes and settings, the cut of its input, and where its work lies."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from data.rules.bad_words import BadWordRule
from pipeline import artifacts
from pipeline.beam.workspace import Waves, Workspace, workspace_key
from pipeline.corpus import read
from pipeline.corpus.onto.base import Base
from pipeline.corpus.onto.verdicts import GrowthFiles
from pipeline.corpus.pages import read_corpus
from pipeline.corpus.read import DEFAULT_CUT, Cut, InputFile
from pipeline.corpus.rules import AnyRules

# Raised when an unfinished job of an earlier version may not be resumed: other rules, other files
# in the workspace.
VERSION = 16

# Partitions of lines per partition of another exchange. Where pages are short, addresses are most
# of the input, so they have as many as lines.
LINES, ADDRESSES, MINHASH, PAIRS, CANDIDATES = 1, 1, 2, 8, 1
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


def begin_job(
    out: str,
    rules: AnyRules,
    files: Sequence[InputFile],
    *,
    identity: object = None,
    in_waves: bool = True,
    cut: Cut = DEFAULT_CUT,
    growable: bool = False,
    kept: GrowthFiles | None = None,
    languages: tuple[str, ...] | None = None,
    bad_words: BadWordRule | None = None,
    identifier: str | None = None,
    crawl_cache: str | None = None,
) -> CleaningJob:
    """Writes the list of a job's shards for its workers; returns the job.

    Args:
        out: directory of the corpus.
        rules: rule set that judges pages.
        files: input files.
        identity: everything else that determines the output, as JSON values.
        in_waves: whether the runner holds what it groups in memory.
        cut: sizes of shards, chunks and partitions.
        growable: whether what an addition needs is kept beside the corpus.
        kept: what is kept beside the corpus that the files are added to; None for none.
        languages, bad_words, identifier, crawl_cache: as `CleaningJob` has them.
    """
    groups = read.shards(files, cut)
    base, every_file = None if kept is None else base_of(kept), list(files)
    if kept is not None:
        there = kept.facts().input
        groups = [[file.path for file in shard] for shard in there] + groups
        every_file += [InputFile(file.path, file.size) for shard in there for file in shard]
    version = (artifacts.SCHEMA_VERSION, VERSION)
    # Not in the manifest: a copy of the input is the same input and has the same manifest.
    stamps = [file.stamp for file in files]
    follows_from = (version, rules.name, identity, groups, stamps, asdict(cut), growable)
    workspace = Workspace(out, workspace_key(*follows_from))
    workspace.write_shards(groups)
    return CleaningJob(
        workspace=workspace,
        rules=rules,
        shards=len(groups),
        partitions=read.partitions(every_file, cut),
        in_waves=in_waves,
        cut=cut,
        languages=languages,
        bad_words=bad_words,
        identifier=identifier,
        crawl_cache=crawl_cache,
        growable=growable,
        base=base,
    )


def base_of(kept: GrowthFiles) -> Base:
    """Returns the corpus that a job adds to."""
    facts = kept.facts()
    return Base(
        growth=kept,
        shards=len(facts.input),
        files=len(facts.files),
        generation=facts.generation + 1,
        thresholds=facts.thresholds,
        held_out_up_to=facts.held_out_up_to,
        corpus=kept.corpus,
        pages={code: entry.kept for code, entry in read_corpus(kept.corpus).languages.items()},
    )

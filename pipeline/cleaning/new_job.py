"""A cleaning job for a list of files: how they are cut into shards, and where its work lies."""

from collections.abc import Sequence
from dataclasses import asdict

from pipeline.artifacts import claims
from pipeline.beam.workspace import Workspace, workspace_key
from pipeline.cleaning import shards
from pipeline.cleaning.growth.growth_files import GrowthFiles
from pipeline.cleaning.growth.stages import Base
from pipeline.cleaning.job import VERSION, AnyRules, CleaningJob
from pipeline.cleaning.shards import DEFAULT_CUT, Cut, InputFile
from pipeline.corpus.manifests import read_corpus


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
    """
    groups = shards.shards(files, cut)
    base, every = None if kept is None else base_of(kept), list(files)
    if kept is not None:
        there = kept.facts().input
        groups = [[file.path for file in shard] for shard in there] + groups
        every += [InputFile(file.path, file.size) for shard in there for file in shard]
    version = (claims.SCHEMA_VERSION, VERSION)
    # Not in the manifest: a copy of the input is the same input and has the same manifest.
    stamps = [file.stamp for file in files]
    follows_from = (version, rules.name, identity, groups, stamps, asdict(cut), growable)
    workspace = Workspace(out, workspace_key(*follows_from))
    workspace.write_shards(groups)
    return CleaningJob(
        workspace=workspace,
        rules=rules,
        shards=len(groups),
        partitions=shards.partitions(every, cut),
        in_waves=in_waves,
        cut=cut,
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
        pages={code: entry.kept for code, entry in read_corpus(kept.corpus).languages.items()},
    )

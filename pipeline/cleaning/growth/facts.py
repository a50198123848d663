"""The settings that a finished job leaves beside its corpus for an addition."""

from collections.abc import Mapping, Sequence

from msgspec import to_builtins

from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from data.rules.held_out import ShareOfEachLanguage
from data.rules.rule_sets import WebRuleSet
from pipeline.arguments import Clean
from pipeline.cleaning.corpus_files.corpus_plan import PlannedFile, PlannedGroup
from pipeline.cleaning.growth.growth_files import (
    GrowthFacts,
    GrowthFiles,
    InputRecord,
    ShareHeldOut,
)
from pipeline.cleaning.job import VERSION, CleaningJob
from pipeline.cleaning.near_duplicates.languages import thresholds_of
from pipeline.cleaning.outputs import kept_files, planned_groups
from pipeline.cleaning.shards import InputFile
from pipeline.cleaning.tally import Tally

CORPUS = ("pages/", "rejected/")


def write_facts(
    arguments: Clean,
    job: CleaningJob,
    tally: Tally,
    digests: Mapping[str, str],
    files: Sequence[InputFile],
) -> str:
    """Writes the settings, last of what is kept beside a corpus; returns their digest."""
    base = job.base and job.base.growth.facts()
    plans, kept = planned_groups(job, tally), GrowthFiles(job.workspace.out)
    named = (arguments.validation_share, arguments.validation_minimum) != (None, None)
    held_out = job.rules.held_out
    share = None
    if named and isinstance(held_out, ShareOfEachLanguage):
        share = ShareHeldOut(share=held_out.share, minimum=held_out.minimum)
    has_thresholds = isinstance(job.rules, WebRuleSet)
    sizes = {file.path: file.size for file in files}
    new = job.workspace.shards(list[list[str]])[len(base.input) if base else 0 :]
    facts = GrowthFacts(
        version=VERSION,
        generation=job.base.generation if job.base else 0,
        rules=job.rules.name,
        share=share,
        languages=job.languages,
        bad_words=digests.get("bad_words"),
        identifier=digests.get("identifier"),
        input=(
            *(base.input if base else ()),
            *(tuple(InputRecord(path, sizes[path]) for path in shard) for shard in new),
        ),
        files=(*kept_files(job), *new_files(plans)),
        held_out_up_to=(base.held_out_up_to if base else {}) | _held_out(plans),
        thresholds=dict(thresholds_of(job.workspace, 0)) if has_thresholds else {},
        tallies=tuple(digest_of_contents(kept.tally_path(shard)) for shard in range(job.shards)),
    )
    write_json(kept.facts_path, to_builtins(facts))
    return digest_of_contents(kept.facts_path)


def new_files(plans: Sequence[PlannedGroup]) -> list[PlannedFile]:
    """Returns the files of pages that a job wrote."""
    return [file for plan in plans for file in plan.files if file.name.startswith(CORPUS)]


def _held_out(plans: Sequence[PlannedGroup]) -> dict[str, str]:
    """Returns the digest up to which each language is held out, where a share is."""
    return {
        plan.group.rpartition("/")[2]: plan.held_out_up_to
        for plan in plans
        if plan.held_out_up_to is not None
    }

"""What an addition changed, for manifest and terminal, and what it leaves for the next one."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from data.files.digests import digest_of_contents
from data.files.json_files import write_json
from data.rules.held_out import ShareOfEachLanguage
from data.rules.rule_sets import WebRuleSet
from pipeline.corpus.counts import Tally, total
from pipeline.corpus.job import VERSION, CleaningJob
from pipeline.corpus.judgements import DecideThresholds, collected_thresholds
from pipeline.corpus.onto import delta
from pipeline.corpus.onto.delta import FILES, FOUND_ROWS, GONE_ROWS, KeepFile
from pipeline.corpus.onto.verdicts import (
    GrowthFacts,
    GrowthFiles,
    InputRecord,
    ShareHeldOut,
    digest_of_languages,
)
from pipeline.corpus.read import InputFile
from pipeline.corpus.submission import kept_files, planned_groups
from pipeline.corpus.write import PlannedGroup
from pipeline.stage import bytes_in_words

CORPUS = ("pages/", "rejected/")


def write_facts(
    job: CleaningJob,
    tally: Tally,
    digests: Mapping[str, str],
    files: Sequence[InputFile],
    written: Mapping[str, str],
    share: ShareHeldOut | None,
) -> str:
    """Writes the settings, last of what is kept beside a corpus; returns their digest.

    Args:
        job: the job.
        tally: its counts.
        digests: of its inputs.
        files: files of its input.
        written: digests of the corpus's files.
        share: share of held-out pages, if the user named one.
    """
    base = job.base and job.base.growth.facts()
    plans, kept = planned_groups(job, tally), GrowthFiles(job.workspace.out)
    thresholds: dict[str, float] = {}
    if isinstance(job.rules, WebRuleSet):
        decided = DecideThresholds(job.workspace, job.rules.certainty)
        thresholds = collected_thresholds(decided, 0)
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
        files=tuple(
            replace(file, digest=written[file.name])
            for file in [*kept_files(job), *(file for plan in plans for file in plan.files)]
            if file.name.startswith(CORPUS)
        ),
        held_out_up_to=(base.held_out_up_to if base else {}) | _held_out(plans),
        thresholds=thresholds,
        table=digest_of_languages(),
        tallies=tuple(digest_of_contents(kept.tally_path(shard)) for shard in range(job.shards)),
    )
    write_json(kept.facts_path, to_builtins(facts))
    return digest_of_contents(kept.facts_path)


def _held_out(plans: Sequence[PlannedGroup]) -> dict[str, str]:
    """Returns the digest up to which each language is held out, where a share is."""
    return {
        plan.group.rpartition("/")[2]: plan.held_out_up_to
        for plan in plans
        if plan.held_out_up_to is not None
    }


def addition_of(job: CleaningJob, tally: Tally, onto: str) -> dict[str, Any]:
    """Returns the changes of an addition: pages by language and reason, and files.

    Raises:
        RuntimeError: if a row that should leave a file was in none.
    """
    assert job.base is not None
    files = total(job.workspace.records(KeepFile.name, job.base.files, Tally))
    wanted, left = tally.number(GONE_ROWS), files.number(FOUND_ROWS)
    if wanted != left:
        raise RuntimeError(
            f"{wanted} rows should leave the files of {onto} or change there, and {left} were "
            "found; clean all input again, and report this."
        )
    changes = {
        kind: {code: tally.details(kind, code) for code in tally.languages(kind)}
        for kind in delta.KINDS
    }
    return {
        "generation": job.base.generation,
        "changes": changes,
        "files": files.details(FILES),
    }


def held_out_differences(job: CleaningJob, languages: Mapping[str, Any]) -> dict[str, int]:
    """Returns by how many held-out pages each language differs from cleaning all input at once."""
    rule = job.rules.held_out
    if not isinstance(rule, ShareOfEachLanguage):
        return {}
    return {
        code: difference
        for code, entry in languages.items()
        if (difference := entry["held_out"] - rule.count(entry["kept"]))
    }


def print_addition(console: Console, body: Mapping[str, Any]) -> None:
    """Prints the changed pages by reason, and the size of what is kept beside the corpus."""
    if "addition" in body:
        console.print(_table(body["addition"]))
    size = sum(body["kept_beside"].values())
    pages = max(body["input"]["records"], 1)
    console.print(
        f"Kept beside the corpus, so that a crawl can be added: {bytes_in_words(size)}, "
        f"{size / pages:,.0f} bytes per page read."
    )


def _table(addition: Mapping[str, Any]) -> Table:
    table = Table("change", "reason", "pages", "most in", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for change, reason, pages, most in rows(addition):
        table.add_row(change, reason, f"{pages:,}", most)
    for what, count in addition["files"].items():
        table.add_row("files", what, f"{count:,}", "")
    for code, number in addition.get("held_out_difference", {}).items():
        table.add_row("held out", "beside all at once", f"{number:+,}", code)
    return table


def rows(addition: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Yields each change and reason with its pages, and the language with most of them."""
    for change, by_language in addition["changes"].items():
        reasons: dict[str, Counter[str]] = defaultdict(Counter)
        for code, counts in by_language.items():
            for reason, count in counts.items():
                reasons[reason][code] += count
        for reason, codes in sorted(reasons.items(), key=lambda row: -row[1].total()):
            yield change, reason, codes.total(), codes.most_common(1)[0][0]

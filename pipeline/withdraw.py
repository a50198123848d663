"""`mswitch withdraw`: removes domains or pages from a corpus, in place.

Only files that hold such a page are written again, each by an atomic rename; of the others only
the addresses are read. Rejected pages are removed too, as their text lies in the corpus. The
manifest records the reason, the hosts, and the numbers of pages, lines and near-duplicates that
are gone. Nothing comes back that these pages had won from others (one page per line and address).
What is kept for a later addition (growth/) has their text, and the difference to a former corpus
(delta/) their addresses, so both are removed first.
Scores of the corpus belong to its former rows, and `select` refuses them.

The same command again after a kill finishes the withdrawal. Once any file may have changed, another
withdrawal is refused until it is finished.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from data.errors import DataError
from data.languages import UNDETERMINED
from data.rights.reasons import BLOCKED
from data.stores.digests import digest_of_contents
from data.stores.files import absolute, directories_in, exists, join_path, remove
from data.stores.json_files import read_json, write_json
from pipeline.arguments import Withdraw
from pipeline.artifacts.claims import MANIFEST, digest_of_manifest
from pipeline.artifacts.intent import Intent, Reading, files_of
from pipeline.artifacts.output_lock import output_lock
from pipeline.beam import job
from pipeline.beam.counted import HOSTS, Counts, CountsRecord
from pipeline.beam.options import check_workers_reach, pipeline_options
from pipeline.beam.store_options import use_store_options
from pipeline.beam.work_items import DoWork, WorkNumbers
from pipeline.beam.workspace import SCRATCH, WORK, Workspace, clear, workspace_key
from pipeline.cleaning.corpus_files import broken_records
from pipeline.cleaning.growth import delta
from pipeline.cleaning.growth import growth_files as growth
from pipeline.cleaning.growth.growth_files import GrowthFiles
from pipeline.corpus.all_files import PAGES, REJECTED, CorpusFile, corpus_files
from pipeline.corpus.data_card import write_cards
from pipeline.corpus.manifests import has_unique_lines, read_corpus
from pipeline.errors import ArtifactError
from pipeline.selection.late_rules import listed, set_aside
from pipeline.selection.withdraw_files import FindSites, RemoveSites, blank_details
from pipeline.selection.withdrawn import manifest_without
from pipeline.terminal import Terminal, print_end

STAGE = "withdraw"
NO_GROWTH = (
    "growth/ held the text of the pages and is removed, so no crawl can be added to this corpus; "
    "corpora that it was made of, or that were made of it, are not changed."
)
# What holds text or addresses beside the pages; `work` of a cleaning that was killed after its end.
TEXT_FOLDERS = (growth.FOLDER, delta.FOLDER, WORK)
FOLDER = "withdrawal"  # of the workspace: `work` itself belongs to the corpus's own command


@dataclass(frozen=True, kw_only=True)
class WithdrawRequest:
    """A job whose arguments passed all checks.

    Attributes:
        options: options of the Beam job.
        corpus: directory of the corpus, as every process resolves it.
        files: its files, rejected pages included.
        sites: lists of domains and addresses.
        intent: what the job would do.
    """

    options: PipelineOptions
    corpus: str
    files: list[CorpusFile]
    sites: tuple[str, ...]
    intent: Intent


def resolved(arguments: Withdraw) -> WithdrawRequest:
    """Returns the job that the arguments name.

    Raises:
        ArtifactError: if there is no such corpus, or the reason is empty.
        DataError: if workers do not reach it, or a list is damaged.
    """
    if not arguments.reason.strip():
        raise ArtifactError("withdraw was given an empty --reason; say why, for the manifest.")
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    check_workers_reach(options, [arguments.corpus, *arguments.sites])
    pages = sum(entry.kept for entry in read_corpus(arguments.corpus).languages.values())
    files = corpus_files(arguments.corpus, (PAGES, REJECTED))
    size, sites = sum(file.size for file in files), tuple(map(absolute, arguments.sites))
    entries = listed(sites, BLOCKED)  # refused here, not by a worker
    holds = f"{len(entries.domains):,} domains and {len(entries.urls):,} addresses"
    intent = Intent(
        stage=STAGE,
        reads=[
            Reading("corpus", arguments.corpus, len(files), size, f"{pages:,} pages"),
            files_of("lists", " ".join(arguments.sites), arguments.sites, holds),
        ],
        writes=f"the files that hold a listed page, and {MANIFEST}{removed(arguments.corpus)}",
        out=None,
        work=f"addresses of {pages:,} pages and of the rejected ones",
    )
    return WithdrawRequest(
        options=options,
        corpus=absolute(arguments.corpus),
        files=files,
        sites=sites,
        intent=intent,
    )


def removed(corpus: str) -> str:
    """Returns what a withdrawal removes whole, in words."""
    there = directories_in(corpus)
    found = [f"{one}/" for one in TEXT_FOLDERS if one in there]
    return f"; removes {', '.join(found)}" if found else ""


def intents(arguments: Withdraw) -> list[Intent]:
    """Returns what the command would do."""
    return [resolved(arguments).intent]


def run(arguments: Withdraw) -> None:
    """Removes the pages, and records it in the manifest."""
    request, console = resolved(arguments), Terminal(stderr=True, highlight=False)
    with output_lock(arguments.corpus, STAGE):
        workspace = begin(request, arguments)
        grows = exists(GrowthFiles(request.corpus).facts_path)
        for folder in TEXT_FOLDERS:
            remove(join_path(request.corpus, folder))
        with console.status(f"withdraw: {len(request.files)} files"):
            remove_sites(request, workspace)
            broken = join_path(request.corpus, broken_records.NAME)
            blank_details(workspace, broken, request.sites)
        records = workspace.records(FindSites.step, len(request.files), CountsRecord)
        counts = Counts.total(records)
        pages = counts.number(HOSTS, "")
        path = join_path(request.corpus, MANIFEST)
        before = body = read_json(path, dict[str, Any])
        if pages:
            entry = {"key": workspace.key, "reason": arguments.reason, "sites": arguments.sites}
            entry["manifest"] = digest_of_manifest(request.corpus)  # before the withdrawal
            body = manifest_without(before, counts, entry)
            write_cards(request.corpus, body)
            write_json(path, body)
        remove(workspace.out)
        files = counts.number("files", "")
        made = f"{pages:,} pages removed from {files} of {len(request.files)} files"
        said = [*set_aside([request.sites]), *of_languages(before, body)]
        print_end(STAGE, made, [*said, *([NO_GROWTH] if grows else [])])


def of_languages(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yields what withdrawals did to languages, from the manifests before and after this one."""
    if before is after:
        again = " any more" if before.get("withdrawals") else ""
        yield f"No page of the corpus is of these sites{again}."
    bare = [
        code
        for code, one in after["languages"].items()
        if code != UNDETERMINED and one["kept"] and not one["held_out"]
        and any(of["languages"].get(code, {}).get("kept") for of in after.get("withdrawals", ()))
    ]  # fmt: skip
    if bare:
        yield (
            f"No page is held out any more in {', '.join(bare)}: a run on tokens made from this "
            "corpus is not evaluated there."
        )


def begin(request: WithdrawRequest, arguments: Withdraw) -> Workspace:
    """Returns the workspace of the withdrawal, with the list of files for its workers.

    Raises:
        ArtifactError: if another withdrawal was interrupted.
    """
    out = join_path(request.corpus, FOLDER)
    done = {one["key"] for one in withdrawals(request.corpus)}
    # One that has changed no file yet may be forgotten; the others must be finished.
    left = [
        one
        for one in directories_in(join_path(out, WORK))
        if one not in (SCRATCH, *done) and has_changed_files(Workspace(out, one))
    ]
    workspace = Workspace(out, key_of(request, arguments))
    if others := [one for one in left if one != workspace.key]:
        raise ArtifactError(
            f"{arguments.corpus} holds an unfinished withdrawal ({others[0]}) with other lists or "
            "another reason; run that command again first."
        )
    if not left:
        clear(out)
    workspace.write_shards(request.files)
    return workspace


def has_changed_files(workspace: Workspace) -> bool:
    """Returns whether a withdrawal may have changed files."""
    return workspace.has_left(RemoveSites.begun)


def key_of(request: WithdrawRequest, arguments: Withdraw) -> str:
    """Returns the digest of what finished files of one withdrawal have in common.

    The sizes of files are left out, as files change on the way.
    """
    lists = [digest_of_contents(one) for one in request.sites]
    names = [file.name for file in request.files]
    manifest = digest_of_manifest(request.corpus)
    return workspace_key(lists, arguments.reason, names, manifest)


def withdrawals(corpus: str) -> list[Mapping[str, Any]]:
    """Returns the finished withdrawals of a corpus, as its manifest records them.

    Raises:
        DataError: if the manifest is damaged.
    """
    found = read_json(join_path(corpus, MANIFEST), dict[str, Any]).get("withdrawals", [])
    if not isinstance(found, list):
        raise DataError(f"{corpus}/{MANIFEST} should list withdrawals and does not; restore it.")
    return found


def remove_sites(request: WithdrawRequest, workspace: Workspace) -> None:
    """Runs the job: counts, then writes, every file that is not finished."""
    unique = has_unique_lines(read_corpus(request.corpus))
    find = FindSites(workspace, request.corpus, request.sites, unique)
    remove = RemoveSites(workspace, request.corpus, request.sites)
    with job.running(request.options) as pipeline:
        numbers = pipeline | WorkNumbers(len(request.files))
        _ = numbers | "Find" >> DoWork(find) | "Remove" >> DoWork(remove)

"""`mswitch withdraw`: removes domains or pages from a corpus, in place.

Only files that hold such a page are written again, each by an atomic rename; all are read, as their
digests are compared with the manifest's. Rejected pages are removed too, as their text lies in the
corpus. The manifest records the reason, the hosts, and the numbers of pages, lines and
near-duplicates that are gone. Nothing comes back that these pages had won from others (one page per
line and address).
What is kept for a later addition (growth/) has their text, and the difference to a former corpus
(delta/) their addresses, so both are removed first, unless nothing is listed. Scores of the corpus
belong to its former rows, and `select` refuses them.

All files are counted and compared with the manifest before any is changed. The same command again
after a kill finishes the withdrawal with the lists as they were, of which it holds copies. Once any
file may have changed, other commands refuse the corpus until it is finished.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from data.corpus_manifest import CorpusManifest
from data.curation.block_lists import BLOCKED
from data.files.digests import digest_of_bytes
from data.files.json_files import read_json, write_json
from data.files.locks import check_held
from data.files.paths import absolute, directories_in, exists, join_path, read_bytes, remove
from data.languages import UNDETERMINED
from pipeline.arguments import Withdraw
from pipeline.artifacts import MANIFEST, Head, digest_of_manifest, remove_claim, renew
from pipeline.beam.job import do_items
from pipeline.beam.options import check_workers_reach, pipeline_options, use_store_options
from pipeline.beam.workspace import WORK, Workspace, workspace_key
from pipeline.corpus import read
from pipeline.corpus.card import write_cards
from pipeline.corpus.counts import BLOCKED_ENTRIES, HOSTS, Tally, total
from pipeline.corpus.onto import delta
from pipeline.corpus.onto.verdicts import FOLDER, GrowthFiles
from pipeline.corpus.pages import (
    PAGES_FOLDER,
    REJECTED_FOLDER,
    WITHDRAWAL,
    CorpusFile,
    corpus_files,
    has_unique_lines,
    manifest_of_corpus,
    options_of,
    unfinished_withdrawal,
)
from pipeline.curation.select import matches, pages_of_entries, read_lists, set_aside
from pipeline.curation.withdraw import (
    FILES,
    FindSites,
    RemoveSites,
    blank_details,
    check_rows,
    files_left,
    manifest_without,
    names_listed,
)
from pipeline.errors import ArtifactError
from pipeline.stage import Intent, Reading, files_of, output_lock
from pipeline.terminal import Terminal, print_end, print_message

STAGE = "withdraw"
NO_GROWTH = (
    "growth/ held the text of the pages and is removed, so no crawl can be added to this corpus; "
    "corpora that it was made of, or that were made of it, are not changed."
)
# What holds text or addresses beside the pages; `work` of a cleaning that was killed after its end.
TEXT_FOLDERS = (FOLDER, delta.FOLDER, WORK)
LISTS = "lists"  # folder of the workspace: copies, as a list may change before the end
AS_IT_BEGAN = (
    "it was finished with its lists as they were when it began; run the command again if they have "
    "changed since."
)


@dataclass(frozen=True, kw_only=True)
class WithdrawRequest:
    """A job whose arguments passed all checks.

    Attributes:
        arguments: the command's arguments.
        options: options of the Beam job.
        corpus: directory of the corpus, as every process resolves it.
        manifest: manifest of the corpus.
        files: its files, rejected pages included.
        sites: lists of domains and addresses; the copies of an unfinished withdrawal.
        unfinished: claim of the withdrawal that is to be finished; None for a new one.
        intent: what the job would do.
    """

    arguments: Withdraw
    options: PipelineOptions
    corpus: str
    manifest: CorpusManifest
    files: list[CorpusFile]
    sites: tuple[str, ...]
    unfinished: Head | None
    intent: Intent


def checked_request(arguments: Withdraw) -> WithdrawRequest:
    """Returns the job that the arguments name.

    Raises:
        ArtifactError: if there is no such corpus, the reason is empty, or another withdrawal is
            unfinished.
        DataError: if workers do not reach the corpus, or a list is damaged.
    """
    if not arguments.reason.strip():
        raise ArtifactError("withdraw was given an empty --reason; say why, for the manifest.")
    options = pipeline_options(arguments.beam)
    use_store_options(options)
    check_workers_reach(options, [arguments.corpus])
    corpus, manifest = absolute(arguments.corpus), manifest_of_corpus(arguments.corpus)
    unfinished = unfinished_withdrawal(corpus)
    if unfinished is None:
        files = corpus_files(corpus, (PAGES_FOLDER, REJECTED_FOLDER))
        sites = tuple(map(absolute, arguments.sites))
    else:
        if unfinished.settings != settings_of(arguments):
            raise ArtifactError(
                f"{arguments.corpus} holds an unfinished withdrawal with other lists or another "
                f"reason; run that one first: {options_of(unfinished)}."
            )
        workspace = Workspace(join_path(corpus, WITHDRAWAL), unfinished.inputs["key"])
        files, sites = workspace.shards(list[CorpusFile]), copies(workspace, arguments)
    pages = sum(entry.kept for entry in manifest.languages.values())
    size = sum(file.size for file in files)
    entries = read_lists(sites, BLOCKED)  # refused here, not by a worker
    holds = f"domains: {len(entries.domains):,}, addresses: {len(entries.urls):,}"
    intent = Intent(
        stage=STAGE,
        reads=[
            Reading("corpus", arguments.corpus, len(files), size, f"{pages:,} pages"),
            files_of("lists", " ".join(arguments.sites), sites, holds),
        ],
        writes=f"the files that hold a listed page, and {MANIFEST}{removes(corpus, manifest)}",
        out=None,
        work=f"addresses of {pages:,} pages and of the rejected ones",
    )
    return WithdrawRequest(
        arguments=arguments,
        options=options,
        corpus=corpus,
        manifest=manifest,
        files=files,
        sites=sites,
        unfinished=unfinished,
        intent=intent,
    )


def settings_of(arguments: Withdraw) -> dict[str, Any]:
    """Returns the settings of a withdrawal's claim."""
    return {"reason": arguments.reason, "sites": [*arguments.sites]}


def copies(workspace: Workspace, arguments: Withdraw) -> tuple[str, ...]:
    """Returns the paths of a withdrawal's copies of its lists."""
    numbers = range(len(arguments.sites))
    return tuple(join_path(workspace.directory, LISTS, f"{number:05d}") for number in numbers)


def removes(corpus: str, manifest: CorpusManifest) -> str:
    """Returns the folders that a withdrawal removes whole, in words."""
    there = directories_in(corpus)
    folders = ", ".join(f"{name}/" for name in TEXT_FOLDERS if name in there)
    if not folders:
        return ""
    if manifest.not_asked.pages:
        return f"; removes {folders}, which may hold pages in languages that were not asked for"
    return f"; removes {folders} if a page is listed"


def intents(arguments: Withdraw) -> list[Intent]:
    """Returns the command's intent, with the pages that each entry names."""
    request = checked_request(arguments)
    pages = pages_of_entries(request.corpus, request.files, request.sites)
    return [replace(request.intent, finds=[*matches(request.sites, pages, arguments.sites)])]


def run(arguments: Withdraw) -> None:
    """Removes the pages, and records it in the manifest."""
    request, console = checked_request(arguments), Terminal(stderr=True, highlight=False)
    with output_lock(arguments.corpus, STAGE):
        workspace = begin(request)
        sites = copies(workspace, arguments)
        growth = GrowthFiles(request.corpus).facts_path
        grows = exists(growth)
        with console.status(f"withdraw: {len(request.files)} files"):
            counts = find_sites(request, workspace, sites)
            for sentence in matches(sites, counts.details(BLOCKED_ENTRIES), arguments.sites):
                print_message(f"{STAGE}: {sentence}")
            remove_sites(request, workspace, sites, counts)
        pages, files = counts.number(HOSTS), counts.number(FILES)
        path = join_path(request.corpus, MANIFEST)
        before = body = read_json(path, dict[str, Any])
        if pages:
            entry = {"key": workspace.key, "reason": arguments.reason, "sites": arguments.sites}
            entry["manifest"] = digest_of_manifest(request.corpus)  # before the withdrawal
            body = manifest_without(before, counts, entry)
            check_held(path)
            write_cards(request.corpus, body)
        written = {**body, **files_left(workspace, request.corpus, request.manifest.files)}
        if written != before:
            check_held(path)
            write_json(path, written)
        cautions = [*set_aside(sites, arguments.sites), *changes_of_languages(before, body)]
        check_held(request.corpus)
        remove(workspace.out)
        made = f"{pages:,} pages removed from {files} of {len(request.files)} files"
        cautions += [NO_GROWTH] if grows and not exists(growth) else []
        cautions += [] if request.unfinished is None else [AS_IT_BEGAN]
        print_end(STAGE, made, cautions)


def changes_of_languages(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yields effects on languages, from the manifests before and after this withdrawal."""
    if before is after:
        yield "No page matched."
    bare = [
        code
        for code, entry in after["languages"].items()
        if code != UNDETERMINED and entry["kept"] and not entry["held_out"]
        and any(of["languages"].get(code, {}).get("kept") for of in after.get("withdrawals", ()))
    ]  # fmt: skip
    if bare:
        yield (
            f"No page is held out any more in {', '.join(bare)}: a run on tokens made from this "
            "corpus is not evaluated there."
        )


def begin(request: WithdrawRequest) -> Workspace:
    """Returns the workspace of the withdrawal, with files and lists for its workers.

    Raises:
        ArtifactError: if another withdrawal was interrupted since the request was made.
    """
    out = join_path(request.corpus, WITHDRAWAL)
    if unfinished_withdrawal(request.corpus) != request.unfinished:
        raise ArtifactError(
            f"{request.arguments.corpus} was changed by another withdrawal just now; run the "
            "command again."
        )
    if request.unfinished is not None:
        return Workspace(out, request.unfinished.inputs["key"])
    remove_claim(out)  # of one that was killed after it wrote the manifest
    lists = [read_bytes(path) for path in request.sites]
    digests = [digest_of_manifest(request.corpus), *map(digest_of_bytes, lists)]
    workspace = Workspace(out, workspace_key(digests, request.arguments.reason, request.files))
    workspace.forget_stale(())
    workspace.write_shards(request.files)
    for path, content in zip(copies(workspace, request.arguments), lists, strict=True):
        with workspace.publish(path) as unfinished:
            unfinished.write_bytes(content)
    return workspace


def find_sites(request: WithdrawRequest, workspace: Workspace, sites: tuple[str, ...]) -> Tally:
    """Counts the listed pages of every file.

    Raises:
        ArtifactError: if files hold more or fewer pages than the manifest counts.
    """
    unique = has_unique_lines(request.manifest)
    find = FindSites(workspace, request.corpus, sites, unique)
    do_items(find, len(request.files), request.options)
    counts = total(workspace.records(find.name, len(request.files), Tally))
    check_rows(counts, request.manifest, request.arguments.corpus)
    return counts


def remove_sites(
    request: WithdrawRequest, workspace: Workspace, sites: tuple[str, ...], counts: Tally
) -> None:
    """Writes every file that has listed pages without them, and removes other text."""
    check_held(request.corpus)
    broken = request.corpus, request.manifest.files.get(read.BROKEN_NAME, ""), sites
    # Text in languages that were not asked for lies in growth/ alone, so it is not looked at.
    has_more = bool(request.manifest.not_asked.pages) or names_listed(workspace, *broken)
    if counts.number(HOSTS):
        renew(workspace.out, STAGE, settings_of(request.arguments), {"key": workspace.key})
    for folder in TEXT_FOLDERS if counts.number(HOSTS) or has_more else (WORK,):
        remove(join_path(request.corpus, folder))
    if counts.number(HOSTS):
        step = RemoveSites(workspace, request.corpus, sites)
        do_items(step, len(request.files), request.options)
    blank_details(workspace, *broken)

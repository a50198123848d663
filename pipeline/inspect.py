"""`mswitch inspect DIR`: verifies any artifact, checksums included, and prints its contents.

Of a run that is not finished it shows how far it has come.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from msgspec import Struct
from rich.console import Console

from data.files.digests import digest_of_contents
from data.files.json_files import Count, Digest, read_json
from data.files.paths import Place, exists, place
from data.tokens.manifest import VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, load
from pipeline.arguments import Inspect
from pipeline.artifacts.claims import (
    CLAIM,
    MANIFEST,
    Head,
    head_in,
    held_instead,
    is_finished,
    read_head,
    read_manifest,
)
from pipeline.artifacts.differences import json_leaves, words_of
from pipeline.corpus.show import inspect_clean
from pipeline.errors import ArtifactError
from pipeline.runs.directory import RECIPE
from pipeline.runs.filled_gaps import latest_gaps
from pipeline.runs.step_times import read_step_times
from pipeline.scoring.show import inspect_scores
from pipeline.terminal import Terminal, print_lines, shortened
from pipeline.tokens.open_blocks import open_blocks
from pipeline.tokens.show import print_blocks
from pipeline.training.log.run_summary import summaries
from pipeline.training.log.show import (
    inspect_finetuned,
    inspect_pruned,
    inspect_run,
    print_unfinished,
)


class ReportManifest(Struct, frozen=True):
    """The manifest of a report."""

    sentence: str
    files: dict[str, Digest] = {}


class Exported(Struct, frozen=True):
    """The manifest of an export."""

    arrays: Count
    files: dict[str, Digest] = {}


def run(arguments: Inspect) -> None:
    """Prints stage, versions, settings and counts of an artifact, as text or as JSON.

    Raises:
        ArtifactError: if the directory holds no finished artifact and no run, or a damaged one.
    """
    console = Terminal(file=io.StringIO()) if arguments.json else Terminal()
    inspect_to(console, arguments)
    if arguments.json:
        print_lines(*json.dumps(json_of(arguments.directory), indent=2).split("\n"))


TRAINED = ("pretrain", "distill", "finetune")
RUNS = (*TRAINED, "import-hf", "prune")  # stages that make a run


def json_of(directory: str) -> dict[str, Any]:
    """Returns an artifact's manifest, or a run's claim; with the steps of a run."""
    there = place(directory)
    found = read_json(there / described_by(there), dict[str, Any])
    if found["stage"] in RUNS:
        found["progress"] = [asdict(one) for one in summaries(there)]
        found["gaps"] = [one._asdict() for one in latest_gaps(there)[1]]
    return found


def inspect_to(console: Console, arguments: Inspect) -> None:
    """Verifies an artifact and prints its contents on a console."""
    directory = place(arguments.directory)
    name = described_by(directory)
    head = read_head(directory, name)
    print_head(head, console)
    if name == CLAIM:
        print_unfinished(directory, console)
    elif head.stage == "tokenize":
        print_blocks(open_blocks(arguments.directory, arguments.cache), console)
    elif head.stage in INSPECTORS:
        INSPECTORS[head.stage](directory, console)
    else:
        console.print("its contents were not verified: there is no check of this stage")


def described_by(directory: Place) -> str:
    """Returns the name of the file that describes an artifact: of an unfinished run, its claim.

    Raises:
        ArtifactError: if the directory holds neither a finished artifact nor a run.
    """
    if is_finished(directory):
        return MANIFEST
    head = head_in(directory)
    if head and head.stage in TRAINED and exists(directory / RECIPE):
        return CLAIM
    raise ArtifactError(
        f"An artifact was expected in {directory}, which {held_instead(directory)}; name a "
        "directory that a stage has finished, or a run that trains."
    )


def print_head(head: Head, console: Console) -> None:
    """Prints the stage, the versions and the settings of an artifact."""
    written = f", schema {head.schema_version}, mswitch {head.code_version}"
    console.print(head.stage + ("" if head.schema_version is None else written))
    for path, value in json_leaves(head.settings).items():
        console.print(shortened(f"  {path}: {words_of(value)}"))


def inspect_vocabulary(directory: Place, console: Console) -> None:
    """Checks the model against its checksum and loads it."""
    manifest = read_manifest(directory, "vocabulary", VocabularyManifest)
    check_files(directory, {MODEL_FILE: manifest.sha256}, "train the vocabulary")
    console.print(f"{load(directory / MODEL_FILE).size:,} ids, checksum correct")


def inspect_report(directory: Place, console: Console) -> None:
    """Checks the report's files and prints its sentence."""
    manifest = read_manifest(directory, "report", ReportManifest)
    check_files(directory, manifest.files, "write the report")
    console.print(manifest.sentence)
    console.print(f"{len(manifest.files)} files, checksums correct")


def inspect_step_times(directory: Place, console: Console) -> None:
    """Checks the seconds against their checksum and prints the ratio of step times."""
    record = read_step_times(directory)
    for side in (record.baseline, record.candidate):
        console.print(f"{side.run}: {side}")
    console.print(record.in_words())


def inspect_export(directory: Place, console: Console) -> None:
    """Checks all exported files, of which one may be code that a reader runs."""
    manifest = read_manifest(directory, "export-hf", Exported)
    check_files(directory, manifest.files, "export the run")
    console.print(f"{manifest.arrays} arrays, {len(manifest.files)} files, checksums correct")


def check_files(directory: Place, files: Mapping[str, str], remedy: str) -> None:
    """Checks files of an artifact against the checksums in its manifest.

    Args:
        directory: the artifact.
        files: SHA-256 by name.
        remedy: what makes the artifact again, in words.

    Raises:
        ArtifactError: if one is missing or differs, or the manifest has none.
    """
    if not files:
        raise ArtifactError(
            f"{directory} was written before manifests had a checksum of each file, and cannot be "
            f"verified; {remedy} again, into another directory."
        )
    for name, digest in files.items():
        path = directory / name
        if not exists(path) or digest_of_contents(path) != digest:
            raise ArtifactError(
                f"{path} is missing or differs from its checksum in the manifest; {remedy} again."
            )


INSPECTORS: dict[str, Callable[[Place, Console], None]] = {
    "clean": inspect_clean,
    "score": inspect_scores,
    "select": inspect_clean,
    "vocabulary": inspect_vocabulary,
    "pretrain": inspect_run,
    "distill": inspect_run,
    "finetune": inspect_finetuned,
    "import-hf": inspect_run,
    "prune": inspect_pruned,
    "export-hf": inspect_export,
    "report": inspect_report,
    "time": inspect_step_times,
}

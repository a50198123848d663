"""`mswitch inspect DIR`: verifies any artifact, checksums included, and prints its contents."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table

from data.stores.digests import digest_of_contents
from data.stores.files import is_remote, join_path
from data.stores.json_files import read_json
from data.stores.json_shapes import Count, Digest
from data.tokens.block_checks import verify_contents
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import SplitTokens, TokenManifest, VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, load
from pipeline.arguments import Inspect
from pipeline.artifacts.claims import CLAIM, MANIFEST, Head, read_head, read_manifest, stage_of
from pipeline.corpus.pages import page_count
from pipeline.corpus.show import inspect_clean
from pipeline.errors import ArtifactError
from pipeline.runs.filled_gaps import latest_gaps, line_of
from pipeline.terminal import Terminal, print_lines
from pipeline.tokens.open_blocks import open_blocks
from pipeline.training.run_summary import summaries, table_of


class Trained(Struct, frozen=True):
    """The manifest of a run."""

    steps: Count


class ReportManifest(Struct, frozen=True):
    """The manifest of a report, and the part of report.json that it repeats."""

    sentence: str


class Exported(Struct, frozen=True):
    """The manifest of an export."""

    arrays: Count
    sha256: Digest


FERTILITY = (
    "language",
    "pages",
    "tokens",
    "tokens per byte",
    "tokens per page",
    "unknown %",
    "byte fallback %",
)
INDENT = "  "
NOTHING = SplitTokens(
    pages=0, tokens=0, text_bytes=0, characters=0, unknown_tokens=0, byte_tokens=0, shards=()
)


def run(arguments: Inspect) -> None:
    """Prints stage, versions, settings and counts of an artifact, as text or as JSON.

    Raises:
        ArtifactError: if the directory holds no finished artifact, or a damaged one.
    """
    console = Terminal(file=io.StringIO()) if arguments.json else Terminal()
    inspect_to(console, arguments)
    if arguments.json:
        print_lines(*json.dumps(json_of(arguments.directory), indent=2).split("\n"))


def json_of(directory: str) -> dict[str, Any]:
    """Returns an artifact's manifest, with the steps of a run."""
    found = read_json(join_path(directory, MANIFEST), dict[str, Any])
    if found["stage"] in ("pretrain", "distill"):
        found["progress"] = [asdict(one) for one in summaries(Path(directory))]
        found["gaps"] = [one._asdict() for one in latest_gaps(Path(directory))[1]]
    return found


def inspect_to(console: Console, arguments: Inspect) -> None:
    """Verifies an artifact and prints its contents on a console."""
    if is_remote(arguments.directory):
        inspect_stored(arguments, console)
        return
    directory = Path(arguments.directory)
    if not (directory / MANIFEST).exists():
        raise ArtifactError(
            f"An artifact was expected in {directory}, which {_held_instead(directory)}; "
            "name a directory that a stage has finished."
        )
    head = read_head(directory)
    print_head(head, console)
    if head.stage in INSPECTORS:
        INSPECTORS[head.stage](directory, console)


def _held_instead(directory: Path) -> str:
    if (directory / CLAIM).exists():
        return f"holds unfinished {read_head(directory, CLAIM).stage} output"
    return "holds no manifest.json" if directory.exists() else "does not exist"


def inspect_stored(arguments: Inspect, console: Console) -> None:
    """Prints the corpus or the token blocks at an address of an object store.

    Raises:
        ArtifactError: if the address holds neither.
    """
    stage = stage_of(arguments.directory)
    if stage == "tokenize":
        print_head(read_head(arguments.directory), console)
        print_blocks(open_blocks(arguments.directory, arguments.cache), console)
    elif stage == "clean":
        print_head(read_head(arguments.directory), console)
        inspect_clean(arguments.directory, console)
    else:
        found = f"{stage} output" if stage else "no finished artifact"
        raise ArtifactError(
            f"A corpus or token blocks were expected at {arguments.directory}, which holds "
            f"{found}; check the address, or copy another artifact to this machine."
        )


def print_head(head: Head, console: Console) -> None:
    """Prints the stage, the versions and the settings of an artifact."""
    console.print(f"{head.stage}, schema {head.schema_version}, mswitch {head.code_version}")
    for key, value in head.settings.items():
        console.print(f"  {key}: {value}")


def inspect_vocabulary(directory: Path, console: Console) -> None:
    """Checks the model against its checksum and loads it."""
    manifest = read_manifest(directory, "vocabulary", VocabularyManifest)
    path = directory / MODEL_FILE
    if not path.exists() or digest_of_contents(path) != manifest.sha256:
        raise ArtifactError(
            f"{path} differs from its checksum in the manifest; train the vocabulary again."
        )
    console.print(f"{load(path).size:,} ids, checksum correct")


def inspect_tokenize(directory: Path, console: Console) -> None:
    """Verifies and prints token blocks."""
    manifest = read_manifest(directory, "tokenize", TokenManifest)
    print_blocks(TokenBlocks(directory, manifest), console)


def print_blocks(blocks: TokenBlocks, console: Console) -> None:
    """Checks every shard against its checksum and prints the tokenizer's fertility per language."""
    verify_contents(blocks)
    numbers = *FERTILITY[1:], "held-out pages", "held-out tokens"
    table = Table(FERTILITY[0], *(Column(name, justify="right") for name in numbers))
    for code, splits in blocks.manifest.languages.items():
        train, held_out = splits.get("train", NOTHING), splits.get("validation", NOTHING)
        table.add_row(code, *fertility(train), f"{held_out.pages:,}", f"{held_out.tokens:,}")
    console.print(table)
    console.print("all checksums correct")


def fertility(counts: SplitTokens) -> tuple[str, ...]:
    """Returns the cells of the `FERTILITY` columns that follow the language."""
    tokens = max(counts.tokens, 1)
    return (
        f"{counts.pages:,}",
        f"{counts.tokens:,}",
        f"{counts.tokens / max(counts.text_bytes, 1):.3f}",
        f"{counts.tokens / max(counts.pages, 1):,.0f}",
        f"{100 * counts.unknown_tokens / tokens:.2f}",
        f"{100 * counts.byte_tokens / tokens:.2f}",
    )


def inspect_pretrain(directory: Path, console: Console) -> None:
    """Checks every array of every checkpoint against its fingerprint, and counts evaluations."""
    from pipeline.runs.open import load_run, restore  # JAX, which data artifacts do not need

    evaluations = sorted((directory / "evaluation").glob("step=*.parquet"))
    rows = [page_count(str(path)) for path in evaluations]
    console.print(f"{len(evaluations)} evaluations of {max(rows, default=0)} held-out pages")
    _, trainer = load_run(directory)
    steps = sorted(int(p.name) for p in (directory / "checkpoints").iterdir() if p.name.isdigit())
    for step in steps:
        restore(directory, trainer, step)
    trained_to = read_json(directory / MANIFEST, Trained).steps
    console.print(table_of(list(summaries(directory))))
    print_gaps(directory, console)
    trained = f"trained to step {trained_to}; checkpoints at steps {steps}"
    console.print(f"{trained}, every array matches its fingerprint")


def print_gaps(directory: Path, console: Console) -> None:
    """Prints the held-out gaps that the last evaluation with any filled, one line each."""
    step, gaps = latest_gaps(directory)
    if gaps:
        console.print(f"held-out gaps as filled at step {step:,}")
    cells = console.width - len(INDENT) if console.is_terminal else None
    for gap in gaps:
        console.print(INDENT + line_of(gap, cells))


def inspect_report(directory: Path, console: Console) -> None:
    """Checks the report's sentence against the manifest and prints it."""
    sentence = read_manifest(directory, "report", ReportManifest).sentence
    if read_json(directory / "report.json", ReportManifest).sentence != sentence:
        raise ArtifactError(
            f"{directory}/report.json differs from the manifest; write the report again."
        )
    console.print(sentence)


def inspect_export(directory: Path, console: Console) -> None:
    """Checks the file of weights against its checksum in the manifest."""
    manifest = read_manifest(directory, "export-hf", Exported)
    path = directory / "model.safetensors"
    if not path.exists() or digest_of_contents(path) != manifest.sha256:
        raise ArtifactError(
            f"{path} differs from its checksum in the manifest; export the run again."
        )
    console.print(f"{manifest.arrays} arrays, checksum correct")


INSPECTORS: dict[str, Callable[[Path, Console], None]] = {
    "clean": inspect_clean,
    "vocabulary": inspect_vocabulary,
    "tokenize": inspect_tokenize,
    "pretrain": inspect_pretrain,
    "distill": inspect_pretrain,
    "import-hf": inspect_pretrain,
    "export-hf": inspect_export,
    "report": inspect_report,
}

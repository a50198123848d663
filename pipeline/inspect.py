"""`mswitch inspect DIR`: verifies any artifact, checksums included, and prints its contents."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table

from data.stores.addresses import Place, place
from data.stores.digests import digest_of_contents
from data.stores.files import exists, instead_of_directory, is_directory, join_path
from data.stores.json_files import read_json
from data.stores.json_shapes import Count, Digest
from data.tokens.block_checks import verify_contents, verify_model
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import SplitTokens, VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, load
from model.hugging_face.weight_files import INDEX, WEIGHTS
from pipeline.arguments import Inspect
from pipeline.artifacts.claims import CLAIM, MANIFEST, Head, read_head, read_manifest
from pipeline.corpus.pages import page_count
from pipeline.corpus.show import inspect_clean
from pipeline.errors import ArtifactError
from pipeline.runs.changes import lines_of as changed_settings
from pipeline.runs.directory import saved_steps
from pipeline.runs.filled_gaps import latest_gaps, line_of
from pipeline.runs.finetuned_runs import read_finetuned
from pipeline.runs.finished import evaluated_steps
from pipeline.runs.step_times import read_step_times
from pipeline.runs.task_files import read_predictions
from pipeline.scoring.show import inspect_scores
from pipeline.terminal import Terminal, print_lines
from pipeline.tokens.open_blocks import open_blocks
from pipeline.training.log.run_summary import summaries, table_of


class Trained(Struct, frozen=True):
    """The manifest of a run."""

    steps: Count


class Pruned(Struct, frozen=True):
    """The manifest of a pruned run: the experts that were kept, by layer."""

    kept: dict[str, list[Count]]


class ReportManifest(Struct, frozen=True):
    """The manifest of a report, and the part of report.json that it repeats."""

    sentence: str


class Exported(Struct, frozen=True):
    """The manifest of an export."""

    arrays: Count
    sha256: Digest  # of the weights, or of the index of several files
    files: dict[str, Digest] = {}


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


REPORT = ("report.json", "report.md", "index.html")
RUNS = ("pretrain", "distill", "finetune", "import-hf", "prune")  # stages that make a run


def json_of(directory: str) -> dict[str, Any]:
    """Returns an artifact's manifest, with the steps of a run."""
    found = read_json(join_path(directory, MANIFEST), dict[str, Any])
    if found["stage"] in RUNS:
        found["progress"] = [asdict(one) for one in summaries(place(directory))]
        found["gaps"] = [one._asdict() for one in latest_gaps(place(directory))[1]]
    return found


def inspect_to(console: Console, arguments: Inspect) -> None:
    """Verifies an artifact and prints its contents on a console."""
    directory = place(arguments.directory)
    if not exists(directory / MANIFEST):
        raise ArtifactError(
            f"An artifact was expected in {directory}, which {_held_instead(directory)}; "
            "name a directory that a stage has finished."
        )
    head = read_head(directory)
    print_head(head, console)
    if head.stage == "tokenize":
        print_blocks(open_blocks(arguments.directory, arguments.cache), console)
    elif head.stage in INSPECTORS:
        INSPECTORS[head.stage](directory, console)
    else:
        console.print("its contents were not verified: there is no check of this stage")


def _held_instead(directory: Place) -> str:
    if exists(directory / CLAIM):
        return f"holds unfinished {read_head(directory, CLAIM).stage} output"
    return "holds no manifest.json" if is_directory(directory) else instead_of_directory(directory)


def print_head(head: Head, console: Console) -> None:
    """Prints the stage, the versions and the settings of an artifact."""
    console.print(f"{head.stage}, schema {head.schema_version}, mswitch {head.code_version}")
    for key, value in head.settings.items():
        console.print(f"  {key}: {value}")


def inspect_vocabulary(directory: Place, console: Console) -> None:
    """Checks the model against its checksum and loads it."""
    manifest = read_manifest(directory, "vocabulary", VocabularyManifest)
    path = directory / MODEL_FILE
    if not exists(path) or digest_of_contents(path) != manifest.sha256:
        raise ArtifactError(
            f"{path} differs from its checksum in the manifest; train the vocabulary again."
        )
    console.print(f"{load(path).size:,} ids, checksum correct")


def print_blocks(blocks: TokenBlocks, console: Console) -> None:
    """Checks every shard against its checksum and prints the tokenizer's fertility per language."""
    verify_contents(blocks)
    verify_model(blocks)
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


def inspect_pretrain(directory: Place, console: Console) -> None:
    """Checks every array of every checkpoint against its fingerprint, and counts evaluations."""
    from pipeline.runs.open import load_run, restore  # JAX, which data artifacts do not need

    evaluations = evaluated_steps(directory)
    rows = [page_count(str(path)) for path in evaluations.values()]
    console.print(f"{len(evaluations)} evaluations of {max(rows, default=0)} held-out pages")
    _, trainer = load_run(directory)
    steps = saved_steps(directory)
    for step in steps:
        restore(directory, trainer, step)
    trained_to = read_json(directory / MANIFEST, Trained).steps
    if trained_to not in steps:
        raise ArtifactError(
            f"{directory} was trained to step {trained_to} by its manifest, and its checkpoints "
            f"are {steps}; restore checkpoints/{trained_to}, or train the run again."
        )
    console.print(table_of(list(summaries(directory))))
    print_gaps(directory, console)
    for line in changed_settings(directory):
        console.print(line, highlight=False)
    trained = f"trained to step {trained_to}; checkpoints at steps {steps}"
    console.print(f"{trained}, every array matches its fingerprint")


def inspect_pruned(directory: Place, console: Console) -> None:
    """Checks the checkpoint as a run's, and prints which experts of each layer were kept."""
    inspect_pretrain(directory, console)
    for layer, experts in read_manifest(directory, "prune", Pruned).kept.items():
        console.print(f"{layer}: experts {' '.join(map(str, experts))}")


def inspect_finetuned(directory: Place, console: Console) -> None:
    """Checks the checkpoints as a run's, and reads the predictions of the best step."""
    inspect_pretrain(directory, console)
    for name, path in read_finetuned(directory).files.items():
        count = len(read_predictions(path).language)
        console.print(f"{name}: {count:,} predictions in {path.name}", highlight=False)


def print_gaps(directory: Place, console: Console) -> None:
    """Prints the held-out gaps that the last evaluation with any filled, one line each."""
    step, gaps = latest_gaps(directory)
    if gaps:
        console.print(f"held-out gaps as filled at step {step:,}")
    cells = console.width - len(INDENT) if console.is_terminal else None
    for gap in gaps:
        console.print(INDENT + line_of(gap, cells))


def inspect_report(directory: Place, console: Console) -> None:
    """Checks the report's sentence against the manifest and prints it."""
    sentence = read_manifest(directory, "report", ReportManifest).sentence
    if missing := [name for name in REPORT if not exists(directory / name)]:
        raise ArtifactError(
            f"{directory} should hold {', '.join(missing)}, which is missing; write the report "
            "again."
        )
    if read_json(directory / "report.json", ReportManifest).sentence != sentence:
        raise ArtifactError(
            f"{directory}/report.json differs from the manifest; write the report again."
        )
    console.print(sentence)


def inspect_step_times(directory: Place, console: Console) -> None:
    """Checks the seconds against their checksum and prints the ratio of step times."""
    record = read_step_times(directory)
    for side in (record.baseline, record.candidate):
        console.print(f"{side.run}: {side}")
    console.print(record.in_words())


def inspect_export(directory: Place, console: Console) -> None:
    """Checks the files of weights against their checksums in the manifest."""
    manifest = read_manifest(directory, "export-hf", Exported)
    main = INDEX if manifest.files else WEIGHTS
    for name, digest in {main: manifest.sha256, **manifest.files}.items():
        path = directory / name
        if not exists(path) or digest_of_contents(path) != digest:
            raise ArtifactError(
                f"{path} differs from its checksum in the manifest; export the run again."
            )
    console.print(f"{manifest.arrays} arrays, checksum correct")


INSPECTORS: dict[str, Callable[[Place, Console], None]] = {
    "clean": inspect_clean,
    "score": inspect_scores,
    "select": inspect_clean,
    "vocabulary": inspect_vocabulary,
    "pretrain": inspect_pretrain,
    "distill": inspect_pretrain,
    "finetune": inspect_finetuned,
    "import-hf": inspect_pretrain,
    "prune": inspect_pruned,
    "export-hf": inspect_export,
    "report": inspect_report,
    "time": inspect_step_times,
}

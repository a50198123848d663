"""What `mswitch inspect` shows of a run: its steps, after its checkpoints were verified."""

from statistics import fmean

from msgspec import Struct
from rich.console import Console

from data.errors import DataError
from data.files.json_files import Count, read_json
from data.files.parquet_files import row_count
from data.files.paths import Place
from pipeline.artifacts.claims import MANIFEST, read_manifest
from pipeline.artifacts.differences import words_of
from pipeline.errors import ArtifactError
from pipeline.runs.best_step import best_step, recorded_scores
from pipeline.runs.changes import lines_of as changed_settings
from pipeline.runs.directory import saved_steps
from pipeline.runs.filled_gaps import latest_gaps, line_of
from pipeline.runs.finetuned_runs import read_finetuned
from pipeline.runs.finished import evaluated_steps
from pipeline.runs.task_files import read_predictions, read_task_of, scores_by_language
from pipeline.training.log.run_summary import summaries, table_of

INDENT = "  "


class Trained(Struct, frozen=True):
    """The manifest of a run."""

    steps: Count


class Pruned(Struct, frozen=True):
    """The manifest of a pruned run: the experts that were kept, by layer."""

    kept: dict[str, list[Count]]


def inspect_run(directory: Place, console: Console) -> None:
    """Checks every array of every checkpoint against its fingerprint, and counts evaluations."""
    from pipeline.runs.open import load_run, restore_state  # JAX, which data artifacts do not need

    evaluations = evaluated_steps(directory)
    if evaluations:
        pages = max(row_count(str(path)) for path in evaluations.values())
        console.print(f"{len(evaluations)} evaluations of {pages:,} held-out pages")
    _, trainer = load_run(directory)
    steps = saved_steps(directory)
    for step in steps:
        restore_state(directory, trainer, step)  # with the optimizer's
    trained_to = read_json(directory / MANIFEST, Trained).steps
    if trained_to not in steps:
        raise ArtifactError(
            f"{directory} was trained to step {trained_to} by its manifest, and its checkpoints "
            f"are {steps}; restore checkpoints/{trained_to}, or train the run again."
        )
    print_progress(directory, console)
    console.print(
        f"trained to step {trained_to}; checkpoints at steps {words_of(steps)}, every array "
        "matches its fingerprint"
    )


def print_unfinished(directory: Place, console: Console) -> None:
    """Prints how far a run has come that trains or was stopped; nothing of it is verified."""
    print_progress(directory, console)
    steps = saved_steps(directory)
    saved = f"checkpoints at steps {words_of(steps)}" if steps else "no checkpoint"
    console.print(f"unfinished, {saved}; nothing was verified")


def print_progress(directory: Place, console: Console) -> None:
    """Prints a table of steps, the gaps that were filled, and the settings that were changed."""
    console.print(table_of(list(summaries(directory))))
    print_gaps(directory, console)
    for line in changed_settings(directory):
        console.print(line, highlight=False)


def inspect_pruned(directory: Place, console: Console) -> None:
    """Checks the checkpoint as a run's, and prints which experts of each layer were kept."""
    inspect_run(directory, console)
    for layer, experts in read_manifest(directory, "prune", Pruned).kept.items():
        console.print(f"{layer}: experts {' '.join(map(str, experts))}")


def inspect_finetuned(directory: Place, console: Console) -> None:
    """Checks the checkpoints as a run's, and prints the scores, from predictions of the best."""
    inspect_run(directory, console)
    best = best_step(directory)
    for step, score in recorded_scores(directory).items():
        which = ", the best" if step == best else ""
        before = ", the weights before" if step == 0 else ""
        console.print(f"step {step:,}: {score:.1f} % on development data{before}{which}")
    for name, path in read_finetuned(directory).files.items():
        predictions = read_predictions(path)
        counted = f"{len(predictions.language):,} predictions in {path.name}"
        try:
            scores = scores_by_language(read_task_of(path), predictions)
            mean = f"{fmean(scores.values()):.1f} %, mean of {len(scores)} languages, of {counted}"
        except DataError:  # the metric's library is not installed
            mean = counted
        console.print(f"{name}: {mean}", highlight=False)


def print_gaps(directory: Place, console: Console) -> None:
    """Prints the held-out gaps that the last evaluation with any filled, one line each."""
    step, gaps = latest_gaps(directory)
    if gaps:
        console.print(f"held-out gaps as filled at step {step:,}")
    cells = console.width - len(INDENT) if console.is_terminal else None
    for gap in gaps:
        console.print(INDENT + line_of(gap, cells))

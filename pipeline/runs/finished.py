"""Finished runs, read back: recipe, evaluations, metrics, filled gaps and step times.

A run is a directory that `mswitch pretrain`, `distill`, `finetune`, `prune` or `import-hf` wrote.
No JAX is imported.

An evaluation's file has one row per held-out page; every later number about a language is
recomputed from these rows. It is written here too. For a sparse network, `routing-step=N.parquet`
holds one row per switch layer and language.

A filled gap is a line for people to read, cut to a number of terminal cells: East Asian characters
take two, combining marks none. The code of the language stands first and Latin words between the
texts, so a terminal that reorders right-to-left text keeps gap, filling and truth apart. Control
characters of a page are escaped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from msgspec import Meta, Struct
from rich.cells import cell_len

from data.errors import DataError, escape_controls
from data.files.digests import digest_of_contents
from data.files.json_files import EXACT, Count, Digest, decode_json, of_shape, read_json
from data.files.locks import check_held
from data.files.parquet_files import read_schema, read_table, write_table
from data.files.paths import Place, exists, names_in, read_bytes, remove
from eval import losses
from eval.experts import WRITTEN
from eval.losses import SCHEMA, PageLosses
from eval.speed_up import step_time_ratio
from pipeline import artifacts
from pipeline.artifacts import STEP_TIMES, read_manifest
from pipeline.errors import ArtifactError
from pipeline.runs.directory import (
    FOLDER,
    OF_STEP,
    RECIPE,
    MixtureRecord,
    RunRecord,
    Seed,
    evaluation_file,
    find_run,
    gaps_file,
    routing_beside,
)
from pipeline.runs.gaps import NOTHING
from pipeline.runs.tasks import SENTENCES, sentence_files


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The contents of a run's directory.

    Attributes:
        directory: directory of the run.
        recipe: the recipe of recipe.json.
        about: all of recipe.json.
        evaluations: pages of each evaluation, by step, ascending.
        metrics: lines of metrics.jsonl.
        tokens_seen: training tokens read, by language.
        imported: whether `mswitch import-hf` wrote the run, or that from which it was pruned.
    """

    directory: Place
    recipe: Mapping[str, Any]
    about: RunRecord
    evaluations: Mapping[int, PageLosses]
    metrics: Sequence[Mapping[str, float | None]]
    tokens_seen: Mapping[str, float]
    imported: bool

    @property
    def last_step(self) -> int:
        """Step of the last evaluation; 0 for an imported model."""
        return max(self.evaluations)

    @property
    def pages(self) -> PageLosses:
        """Pages of the last evaluation."""
        return self.evaluations[self.last_step]

    @property
    def switch(self) -> Mapping[str, Any] | None:
        """Settings of the switch layers; None for a dense run."""
        return self.recipe["model"]["switch"]

    @property
    def experts(self) -> int | None:
        """Number of experts per switch layer; None for a dense run."""
        return None if self.switch is None else self.switch["experts"]

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of the devices of the run, one entry per device."""
        return tuple(sorted(self.about.devices))


def evaluation_files(directory: Place) -> dict[int, Place]:
    """Returns a run's evaluation files by step, ascending.

    Raises:
        ArtifactError: if there is no run, or it was never evaluated.
    """
    find_run(directory)
    if not (files := evaluated_steps(directory)):
        raise ArtifactError(
            f"Evaluations were expected in {directory / 'evaluation'}, which holds none; "
            f"run `mswitch evaluate --run {directory} --tokens DIR` first."
        )
    return files


def evaluated_steps(directory: Place) -> dict[int, Place]:
    """Returns a run's evaluation files by step, ascending; none if it was never evaluated."""
    names = map(OF_STEP.fullmatch, names_in(directory / FOLDER))
    steps = sorted(int(match[2]) for match in names if match is not None and match[1] is None)
    return {step: evaluation_file(directory, step) for step in steps}


def read_run(directory: Place) -> FinishedRun:
    """Returns a finished run.

    Raises:
        ArtifactError: if there is no run, it is not finished, or its evaluations scored different
            pages.
    """
    about = find_run(directory)
    evaluations, imported = evaluation_files(directory), _is_imported(directory)
    last, steps = max(evaluations), 0 if imported else about.recipe["steps"]
    if last != steps:
        raise ArtifactError(
            f"{directory} trains for {steps} steps and was last evaluated at step {last}; "
            "let `mswitch pretrain` finish, or evaluate its last checkpoint."
        )
    scored: dict[int, PageLosses] = {}
    pages = None
    paths = reversed(evaluations.values())
    tables = ((read_table(path, losses.SCHEMA), str(path)) for path in paths)
    for step, at_step in zip(reversed(evaluations), losses.from_tables(tables), strict=True):
        pages = pages or at_step  # the last step comes first
        if not losses.same_targets(pages, at_step):
            raise ArtifactError(
                f"{evaluations[last]} and {evaluations[step]} scored different held-out pages "
                f"({len(pages.loss_nats)} against {len(at_step.loss_nats)}, or other targets); "
                "evaluate all steps on the same tokens."
            )
        # Equal counts are kept once: with many evaluations they would be most of the memory.
        scored[step] = replace(pages, loss_nats=at_step.loss_nats)
    return FinishedRun(
        directory=directory,
        recipe=about.recipe,
        about=about,
        evaluations=dict(sorted(scored.items())),
        metrics=read_metrics(directory / "metrics.jsonl"),
        tokens_seen=_tokens_seen(directory / "mixture.json"),
        imported=imported,
    )


def files_read(directory: Place) -> dict[str, Place]:
    """Returns the files of a run that a report reads, by a name of each."""
    names = (RECIPE, "metrics.jsonl", "mixture.json")
    files = {name: directory / name for name in names if exists(directory / name)}
    evaluations = evaluation_files(directory)
    files |= {str(step): path for step, path in evaluations.items()}
    last = max(evaluations)
    if exists(routing := routing_beside(evaluations[last])):
        files["routing"] = routing
    texts = sentence_files(directory, last)
    return files | {f"{SENTENCES}/{name}": path for name, path in texts.items()}


def last_routing(directory: Place) -> Place | None:
    """Returns the routing file of a run's last evaluation, or None if there is none."""
    *_, last = evaluation_files(directory).values()
    path = routing_beside(last)
    return path if exists(path) else None


def _is_imported(directory: Place) -> bool:
    """Returns whether the run, or the run that it was pruned from, was imported."""
    if not artifacts.is_finished(directory):
        return False
    head = artifacts.read_head(directory)
    return head.stage == "import-hf" or (head.stage == "prune" and head.settings.get("step") == 0)


Amount = Annotated[float, Meta(ge=0, le=EXACT)]


class LoggedStep(Struct, frozen=True):
    """The numbers of a line of a run's log that every reader needs.

    Attributes:
        step: number of updates so far.
        steps: number of those since the line before.
        seconds: mean time of these.
    """

    step: Amount
    steps: Amount | None = None
    seconds: Amount | None = None


def read_metrics(path: Place) -> list[dict[str, float | None]]:
    """Returns the lines of a run's log; none if there is no log.

    A last line without its end is left out: it is being written, or a kill cut it and the next
    start of the run repairs it.

    Raises:
        ArtifactError: if a line is broken.
    """
    if not exists(path):
        return []
    try:
        *lines, _ = read_bytes(path).split(b"\n")
        metrics = [decode_json(line, dict[str, float | None], str(path)) for line in lines if line]
        of_shape(metrics, list[LoggedStep], str(path))
        return metrics
    except DataError as error:
        raise ArtifactError(
            f"One JSON object per line was expected in {path} ({error}); remove the broken line, "
            "or the file: the report then shows its metrics as not recorded."
        ) from error


def _tokens_seen(path: Place) -> dict[str, float]:
    languages = read_json(path, MixtureRecord).languages if exists(path) else {}
    return {code: language.tokens_seen for code, language in languages.items()}


COLUMNS = SCHEMA.append(pa.field("windows", pa.int32()))
TOKENS = b"tokens"  # metadata key: digest of the manifest of the scored token blocks


class Evaluation(NamedTuple):
    """The columns of both files.

    Attributes:
        pages: columns of `step=N.parquet`.
        routing: columns of `routing-step=N.parquet`; None for a dense network.
    """

    pages: dict[str, list[Any]]
    routing: dict[str, list[Any]] | None

    @property
    def losses(self) -> dict[str, float]:
        """Nats per target token over all pages of a language, by language code."""
        sums: dict[str, list[float]] = {}
        names = ("language", "loss_nats", "target_tokens")
        for code, nats, tokens in zip(*(self.pages[name] for name in names), strict=True):
            total = sums.setdefault(code, [0.0, 0.0])
            total[0] += nats
            total[1] += tokens
        return {code: nats / tokens for code, (nats, tokens) in sums.items() if tokens}


def forget_evaluations(directory: Place, gone: Callable[[int], bool]) -> None:
    """Removes all files of the evaluations of some steps; of each one, the file of pages first."""
    check_held(directory)
    folder = directory / FOLDER
    matches = [OF_STEP.fullmatch(name) for name in names_in(folder)]
    files = [match[0] for match in matches if match is not None and gone(int(match[2]))]
    for name in sorted(files, key=lambda name: not name.startswith("step=")):
        remove(folder / name)


def scored_tokens(path: Place) -> str | None:
    """Returns the digest of the tokens that an evaluation was made from; None if not recorded."""
    tokens = (read_schema(str(path)).metadata or {}).get(TOKENS)
    return None if tokens is None else tokens.decode(errors="replace")


def write_evaluation(
    directory: Place, step: int, evaluation: Evaluation, tokens: str | None = None
) -> Place:
    """Writes one evaluation with atomic renames.

    The file of pages is written last: its presence marks the evaluation as complete.

    Args:
        directory: the run's directory.
        step: step of the scored weights.
        evaluation: columns to write.
        tokens: digest of the scored tokens; None if they are the run's own.

    Returns:
        The path of the file of pages.
    """
    path = evaluation_file(directory, step)
    if evaluation.routing is not None:
        table = pa.Table.from_pydict(evaluation.routing, WRITTEN)
        write_table(table, routing_beside(path), directory)
    schema = COLUMNS if tokens is None else COLUMNS.with_metadata({TOKENS: tokens})
    write_table(pa.Table.from_pydict(evaluation.pages, schema), path, directory)
    return path


GAPS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("language", "before", "filled", "hidden", "after")]
)
CUT = "..."


class FilledGap(NamedTuple):
    """A gap of a held-out page.

    Attributes:
        language: code of the page's language.
        before, after: visible text on both sides, with the space towards the gap if there is one.
        filled: what the network wrote.
        hidden: what stood there.
    """

    language: str
    before: str
    filled: str
    hidden: str
    after: str


def read_gaps(directory: Place, step: int) -> list[FilledGap]:
    """Returns the gaps that a step's evaluation filled; none if it filled none.

    Raises:
        DataError: if their file is damaged.
    """
    path = gaps_file(directory, step)
    if not exists(path):
        return []
    rows = read_table(path, GAPS_SCHEMA).to_pylist()
    return [FilledGap(**{name: value or "" for name, value in row.items()}) for row in rows]


def latest_gaps(directory: Place) -> tuple[int, list[FilledGap]]:
    """Returns the gaps of the last evaluation that filled any, and its step; 0 if none did.

    Raises:
        DataError: if their file is damaged.
    """
    for step in reversed(evaluated_steps(directory)):
        if gaps := read_gaps(directory, step):
            return step, gaps
    return 0, []


def gap_in_words(gap: FilledGap, cells: int | None = None) -> str:
    """Returns a gap as one line: `sw: before [filling] after (was: truth)`, or within a word.

    Args:
        gap: the gap.
        cells: largest width of the line; None for the whole text.
    """
    code, before, filled, hidden, after = (escape_controls(text) for text in gap)
    filled, hidden = filled or NOTHING, hidden or NOTHING
    if cells is not None:
        rest = cells - cell_len(f"{code}: [] (was: )")
        filled, hidden = (first_cells(text, rest // 4) for text in (filled, hidden))
        rest -= cell_len(filled) + cell_len(hidden)
        before = last_cells(before, rest - min(cell_len(after), rest // 2))
        after = first_cells(after, rest - cell_len(before))
    return f"{code}: {before}[{filled}]{after} (was: {hidden})"


def first_cells(text: str, cells: int) -> str:
    """Returns the first characters of a text that fit, with `...` if some do not."""
    if cell_len(text) <= cells:
        return text
    kept = ""
    for character in text:
        if cell_len(kept + character) > cells - len(CUT):
            break
        kept += character
    return kept + CUT if cells >= len(CUT) else CUT[: max(cells, 0)]


def last_cells(text: str, cells: int) -> str:
    """Returns the last characters of a text that fit, with `...` if some do not."""
    if cell_len(text) <= cells:
        return text
    kept = text
    while kept and cell_len(kept) > max(cells - len(CUT), 0):
        kept = kept[1:]
    while kept and cell_len(kept[0]) == 0:  # a mark without its letter
        kept = kept[1:]
    return CUT + kept if cells >= len(CUT) else CUT[: max(cells, 0)]


TIME_FILE = "step_times.json"
Seconds = Annotated[float, Meta(gt=0, le=1e9)]


class MeasuredRun(Struct, frozen=True, kw_only=True):
    """A run whose steps were timed.

    Attributes:
        run: directory of the run, as it was named.
        recipe: name of its recipe.
        seed: seed of the run.
        step: step of the checkpoint that its steps went on from.
        recipe_sha256: digest of its recipe.json.
    """

    run: str
    recipe: str
    seed: Seed
    step: Count
    recipe_sha256: Digest

    @property
    def name(self) -> str:
        """Recipe and seed."""
        return f"{self.recipe} (seed {self.seed})"

    def __str__(self) -> str:
        return f"{self.name} from step {self.step:,} on"


class Round(Struct, frozen=True, kw_only=True):
    """Seconds of one round.

    Attributes:
        first: side that went first.
        baseline_seconds, candidate_seconds: wall time of the steps of each side.
    """

    first: Literal["baseline", "candidate"]
    baseline_seconds: Seconds
    candidate_seconds: Seconds


def count_devices(devices: Sequence[str]) -> str:
    """Returns `8 × TPU v5p` for eight such entries, `not recorded` for none."""
    kinds = [f"{devices.count(kind)} × {kind}" for kind in dict.fromkeys(devices)]
    return ", ".join(kinds) or "not recorded"


class StepTimesRecord(Struct, frozen=True, kw_only=True):
    """step_times.json.

    Attributes:
        baseline, candidate: the two runs.
        steps_per_round: number of steps per round and side.
        rounds: rounds in order, without the one that is not counted.
        devices: kind of each device.
        machine: operating system and number of processors.
        versions: versions of the code and of the libraries that ran it.
    """

    baseline: MeasuredRun
    candidate: MeasuredRun
    steps_per_round: Annotated[int, Meta(ge=1, le=EXACT)]
    rounds: Annotated[tuple[Round, ...], Meta(min_length=2)]
    devices: tuple[str, ...]
    machine: dict[str, Any] = {}
    versions: dict[str, Any] = {}

    @property
    def seconds(self) -> tuple[Float[np.ndarray, " rounds"], Float[np.ndarray, " rounds"]]:
        """Seconds per round of the baseline and of the candidate."""
        return (
            np.array([measured.baseline_seconds for measured in self.rounds]),
            np.array([measured.candidate_seconds for measured in self.rounds]),
        )

    @property
    def measured_on(self) -> str:
        """Numbers and kinds of devices, with the threads of those that are processors."""
        threads = self.machine.get("processors") if "cpu" in self.devices else None
        counted = "" if threads is None else f", {threads} thread{'s' if threads != 1 else ''}"
        return f"{count_devices(self.devices)}{counted}"

    def in_words(self) -> str:
        """Returns medians, ratio and interval."""
        ratio = step_time_ratio(*self.seconds)
        low, high = ratio.ends
        baseline, candidate = (
            float(np.median(side)) / self.steps_per_round for side in self.seconds
        )
        return (
            f"a step takes {baseline:.3g} s with {self.baseline.name} and {candidate:.3g} s with "
            f"{self.candidate.name} on {self.measured_on} (medians of {len(self.rounds)} rounds); "
            f"within a round the ratio is {ratio.ratio:.3f} in the mean (95 % interval {low:.3f} "
            f"to {high:.3f}), which other work on the machine moves less than the medians"
        )


class TimeManifest(Struct, frozen=True):
    """The manifest: digest of step_times.json."""

    sha256: Digest


def read_step_times(directory: Place) -> StepTimesRecord:
    """Returns finished step times.

    Raises:
        ArtifactError: if there are none, or they are not those that were measured.
    """
    manifest, path = (
        read_manifest(directory, STEP_TIMES.stages, TimeManifest),
        directory / TIME_FILE,
    )
    if not exists(path) or digest_of_contents(path) != manifest.sha256:
        raise ArtifactError(
            f"{path} differs from its checksum in the manifest; measure again into another "
            "directory."
        )
    return read_json(path, StepTimesRecord)

"""A run's directory: the files that describe the run, and which of its checkpoints are whole.

    recipe.json                  the run: its recipe, its inputs, the numerics
    changes.json                 settings changed on a resume
    best.json                    the best step of a fine-tuned run
    checkpoints/200.json         a checkpoint's record, written when all arrays are there
    checkpoints/200-1f0c.../     its arrays, by number

A save writes below a name that no other start of the run uses, and the record comes last, by an
atomic rename or one upload. A folder without a record is the rest of a killed save.

A change has the step of the checkpoint that the run went on from. The best checkpoint is kept,
and every command that opens the run without a step opens that one.

Every command that reads a run uses these functions, so each fault has one message. No JAX is
imported. A recipe has the types and ranges of `Recipe`, and stays as JSON values: a report names
the settings that an earlier version did not record.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct, to_builtins

from data.errors import DataError
from data.files import atomic
from data.files.digests import digest_of_contents
from data.files.json_files import Count, RelativePath, read_json, write_json
from data.files.paths import (
    Place,
    directories_in,
    exists,
    files_below,
    instead_of_directory,
    is_directory,
    names_in,
    remove,
)
from data.tokens.tokenizer import MODEL_FILE
from model import (
    DENSE_STEPS_SINCE,
    NUMERICS_VERSION,
    SLOPED_STEPS_SINCE,
    SPARSE_STEPS_SINCE,
)
from pipeline.artifacts import (
    CLAIM,
    MANIFEST,
    TRAINED,
    Head,
    head_in,
    held_instead,
    is_finished,
    json_leaves,
    words_of,
)
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Differs, Recipe, fixed_settings
from pipeline.stage import Reading, files_of

if TYPE_CHECKING:
    from data.tokens.blocks import TokenBlocks  # Arrow takes a second to load

RECIPE = "recipe.json"
CHANGES = "changes.json"
BEST = "best.json"
FOLDER = "evaluation"
OF_STEP = re.compile(r"(routing-|gaps-)?step=(0|[1-9][0-9]{0,17})\.parquet")
DAMAGED = "damaged"
_RECORD = re.compile(r"(0|[1-9][0-9]*)\.json")
_ANY_RECORD = re.compile(rf"(?:{DAMAGED}-)?(0|[1-9][0-9]*)(?:-[0-9]+)?\.json")
_RENAMED_RECORD = re.compile(r"(0|[1-9][0-9]*)\.json.+(?<!\.tmp)")
_BEGUN = re.compile(r"(0|[1-9][0-9]*)-[0-9a-f]{8}")  # the folder of a save
UPCYCLED = "upcycled"  # name of the dense run among the inputs of a run that began as it
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class RecordedTeacher(Struct, frozen=True, kw_only=True):
    """The teacher of a student.

    Attributes:
        recipe: name of the teacher's recipe.
        seed: seed of the teacher.
        step: step of its weights.
        experts: number of experts per switch layer; None for a dense teacher.
        parameters: number of weights.
        fingerprint: fingerprint of the weights.
    """

    recipe: str
    seed: Seed
    parameters: Count
    step: Count = 0
    experts: Count | None = None
    fingerprint: str = ""


class RecordedPruning(Struct, frozen=True, kw_only=True):
    """How a run was pruned.

    Attributes:
        languages: codes of the languages that it was made for.
        experts: number of experts per switch layer before.
        run: digest of the manifest of the run before; empty if it was not recorded.
        others: what became of the other experts, in words; empty if it was not recorded.
    """

    languages: tuple[str, ...]
    experts: Count
    run: str = ""
    others: str = ""


class RecordedTrimming(Struct, frozen=True):
    """The trimming of a run's vocabulary.

    Attributes:
        languages: codes of the languages whose pieces stayed.
    """

    languages: tuple[str, ...]


class RecordedDense(Struct, frozen=True, kw_only=True):
    """The dense run that an upcycled one began as.

    Attributes:
        run: directory of the run, as it was named.
        recipe: name of its recipe.
        seed: seed of the run.
        step: step of its weights; 0 for an imported run.
        begins_at: first step of the upcycled run: `step`, or 0 if it reads other examples.
        parameters: number of weights; None if not recorded.
        flops: training FLOPs of its steps; None for an imported run.
        logits: standard deviation of the first router logits.
        noise: noise on the copies, relative to each matrix.
    """

    run: str
    recipe: str
    seed: Seed
    step: Count
    begins_at: Count
    parameters: Count | None = None
    flops: Annotated[int, Meta(ge=0)] | None = None
    logits: float = 0.0
    noise: float = 0.0


class RecordedLengths(Struct, frozen=True):
    """Lengths of a training sequence in tokens.

    Attributes:
        inputs: tokens that the encoder reads.
        targets: tokens that the decoder reads.
    """

    inputs: Count
    targets: Count


class RunRecord(Struct, frozen=True, kw_only=True):
    """recipe.json.

    Attributes:
        recipe: settings of the run, those of a `Recipe`, without those that were added later.
        parameters: number of weights; None if not recorded.
        flops_per_sequence: FLOPs per sequence of the forward pass; None if not recorded.
        lengths: tokens of a sequence; None if not recorded.
        devices: kind of each device.
        inputs: digest of each input, by name.
        numerics_version: version that began the run; 1 if not recorded.
        commits: commits of the code that have trained the run.
        teacher: teacher of a student.
        pruned: how the run was pruned; None if it was not.
        trimmed: how its vocabulary was trimmed; None if it was not.
        upcycled: dense run that an upcycled one began as.
    """

    recipe: dict[str, Any]
    parameters: Count | None = None
    flops_per_sequence: Annotated[int, Meta(ge=0)] | None = None
    lengths: RecordedLengths | None = None
    devices: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    numerics_version: int = 1
    commits: tuple[str, ...] = ()
    teacher: RecordedTeacher | None = None
    pruned: RecordedPruning | None = None
    trimmed: RecordedTrimming | None = None
    upcycled: RecordedDense | None = None

    def __post_init__(self):
        msgspec.convert(self.recipe, Recipe)

    @property
    def has_todays_steps(self) -> bool:
        """Whether this code computes the run's steps, if perhaps not its first weights."""
        model = self.recipe["model"]
        since = DENSE_STEPS_SINCE if model["switch"] is None else SPARSE_STEPS_SINCE
        if model.get("distance_slope"):
            since = SLOPED_STEPS_SINCE
        return since <= self.numerics_version <= NUMERICS_VERSION


class TokensSeen(Struct, frozen=True):
    """One language of mixture.json; of a fine-tuned run one `TASK/LANGUAGE`, or pretraining."""

    tokens_seen: Annotated[float, Meta(ge=0)]


class MixtureRecord(Struct, frozen=True):
    """mixture.json."""

    languages: dict[RelativePath, TokensSeen] = {}


class ChangedSetting(Struct, frozen=True):
    """One setting that was changed on a resume.

    Attributes:
        step: number of steps made before.
        setting: name of the setting in the recipe.
        before: its value until then; None for what was added to a list.
        after: its value from then on.
    """

    step: Count
    setting: str
    before: Any
    after: Any

    def __str__(self) -> str:
        was = "" if self.before is None else f"{json.dumps(self.before)} -> "
        return f"after step {self.step:,}: {self.setting} {was}{json.dumps(self.after)}"


class Changes(Struct, frozen=True):
    """changes.json."""

    changes: tuple[ChangedSetting, ...] = ()


def recorded_changes(run: Place) -> tuple[ChangedSetting, ...]:
    """Returns the changes of a run, in order; none if it was never changed."""
    path = run / CHANGES
    return read_json(path, Changes).changes if exists(path) else ()


def record_changes(run: Place, changes: Sequence[ChangedSetting]) -> None:
    """Adds changes to a run's; those that a killed command has just recorded are not repeated."""
    recorded = recorded_changes(run)
    if changes and recorded[-len(changes) :] != tuple(changes):
        write_json(run / CHANGES, {"changes": changes_to_json((*recorded, *changes))})


def changes_to_json(changes: Sequence[ChangedSetting]) -> list[dict[str, Any]]:
    """Returns changes as JSON values."""
    return to_builtins(list(changes))


class BestStep(Struct, frozen=True):
    """best.json.

    Attributes:
        step: step of the best score; of equal ones the first.
        score: that score: the mean over tasks, in percent, each the mean over training languages.
        scores: score at each evaluated step.
    """

    step: Count
    score: float
    scores: dict[int, float]


def best_step(directory: Place) -> int | None:
    """Returns the step of the best checkpoint; None for a run that is not fine-tuned."""
    path = directory / BEST
    return read_json(path, BestStep).step if exists(path) else None


def recorded_scores(directory: Place) -> dict[int, float]:
    """Returns the score at each evaluated step; none before the first evaluation."""
    path = directory / BEST
    return read_json(path, BestStep).scores if exists(path) else {}


def best_saved_step(directory: Place) -> int | None:
    """Returns the best step that has a checkpoint; None for a run that is not fine-tuned.

    The scores of better ones, whose checkpoints were removed, are forgotten.
    """
    best, scores, saved = best_step(directory), recorded_scores(directory), saved_steps(directory)
    with_weights = [scores[step] for step in saved if step in scores]
    if best in saved or not with_weights:
        return best
    most = max(with_weights)
    left = {step: score for step, score in scores.items() if score < most or step in saved}
    _write_scores(directory, left)
    return best_step(directory)


def record_score(directory: Place, step: int, score: float) -> None:
    """Adds the score of a step, which completes its evaluation."""
    _write_scores(directory, recorded_scores(directory) | {step: score})


def _write_scores(directory: Place, scores: Mapping[int, float]) -> None:
    ordered = dict(sorted(scores.items()))
    best = max(ordered, key=lambda step: ordered[step])
    write_json(directory / BEST, {"step": best, "score": ordered[best], "scores": ordered})


class CheckpointRecord(Struct, frozen=True):
    """What makes a checkpoint whole, beside its arrays.

    Attributes:
        folder: name of the folder of its arrays, beside the record.
        arrays: names of the arrays, in the order of their numbers.
    """

    folder: str
    arrays: list[str]


def steps_in(checkpoints: Place) -> list[int]:
    """Returns the steps of all whole checkpoints, in order; none if there is no directory."""
    matches = [_RECORD.fullmatch(name) for name in names_in(checkpoints)]
    return sorted(int(match[1]) for match in matches if match)


def record_path(checkpoints: Place, step: int) -> Place:
    """Returns the path or address of a checkpoint's record."""
    return checkpoints / f"{step}.json"


def arrays_folder(checkpoints: Place, step: int) -> Place:
    """Returns the folder of a checkpoint's arrays.

    Raises:
        DataError: if its record is damaged or cannot be read.
    """
    return checkpoints / read_json(record_path(checkpoints, step), CheckpointRecord).folder


def remove_unfinished(checkpoints: Place) -> None:
    """Removes the folders that saves and removals begin and that no record names.

    That of a damaged checkpoint has a record and stays; so do all of a step whose record cannot be
    read, or that a user renamed (`400.json.bak`).
    """
    atomic.remove_unfinished(checkpoints)
    named, spared = set[str](), set[str]()
    for name in names_in(checkpoints):
        if match := _ANY_RECORD.fullmatch(name):
            try:
                named.add(read_json(checkpoints / name, CheckpointRecord).folder)
            except DataError:
                spared.add(match[1])
        elif match := _RENAMED_RECORD.fullmatch(name):
            spared.add(match[1])
    for folder in directories_in(checkpoints):
        begun = _BEGUN.fullmatch(folder)
        if begun and folder not in named and begun[1] not in spared:
            remove(checkpoints / folder)


def free_name(checkpoints: Place, step: int) -> str:
    """Returns a free name under which a damaged checkpoint is kept."""
    names = {name.removesuffix(".json") for name in names_in(checkpoints)}
    number = 0
    while (name := f"{DAMAGED}-{step}-{number}") in names:
        number += 1
    return name


def evaluation_file(directory: Place, step: int) -> Place:
    """Returns the path of a step's evaluation in a run directory."""
    return directory / FOLDER / f"step={step}.parquet"


def gaps_file(directory: Place, step: int) -> Place:
    """Returns the path of the gaps that an evaluation filled."""
    return directory / FOLDER / f"gaps-step={step}.parquet"


def routing_beside(path: Place) -> Place:
    """Returns the path of the routing of an evaluation's pages, or of predictions for a task.

    It holds how experts were used; a dense run has none.
    """
    return path.with_name(f"routing-{path.name}")


def routing_file(run: Place, step: int) -> Place:
    """Returns the routing file of a step.

    Raises:
        ArtifactError: if there is none.
    """
    path = routing_beside(evaluation_file(run, step))
    if not exists(path):
        raise ArtifactError(
            f"Gates by expert and language were expected in {path}, which does not exist; run "
            f"`mswitch evaluate --run {run} --step {step} --tokens TOKENS`, then the same command."
        )
    return path


def find_run(directory: Place) -> RunRecord:
    """Returns the recipe.json of a run, finished or not.

    Raises:
        ArtifactError: if there is no run, or its recipe is not the one that it was begun with.
    """
    if not exists(directory / RECIPE):
        raise ArtifactError(
            f"A run was expected in {directory}, which {_held_instead(directory)}; name "
            "the --out of `mswitch pretrain`, finetune, distill, prune or import-hf."
        )
    about = read_json(directory / RECIPE, RunRecord)
    if changed := list(_changed_by_others(directory, about.recipe)):
        raise ArtifactError(
            f"{directory / RECIPE} was changed by another program since mswitch wrote it "
            f"({'; '.join(changed)}); put back what was there then."
        )
    return about


class RecordedRun(Head, frozen=True, kw_only=True):
    """The manifest or the claim of a run.

    Attributes:
        recipe: recipe of an imported or a pruned run; that of a trained one is the settings.
    """

    recipe: dict[str, Any] = msgspec.field(default_factory=dict)


def _changed_by_others(directory: Place, recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yields the settings of recipe.json that the run's manifest or claim has otherwise.

    A change is recorded and claimed before recipe.json is written again. A kill in between leaves
    the value before.
    """
    finished = is_finished(directory)
    path = directory / (MANIFEST if finished else CLAIM)
    recorded = read_json(path, RecordedRun) if exists(path) else None
    then = {} if recorded is None else recorded.recipe or recorded.settings
    if "model" not in then:  # an earlier version's import or pruning
        return
    changes = () if finished else recorded_changes(directory)
    former, now = (json_leaves(fixed_settings(part, Differs.UNCLAIMED)) for part in (then, recipe))
    for name in sorted(former.keys() | now.keys()):
        setting, was, value = name.rpartition(".")[2], former.get(name), now.get(name)
        known = (change.before for change in changes if change.setting == setting)
        if was != value and not any(before in (None, value) for before in known):
            yield f"{name}: then {words_of(was)}, now {words_of(value)}"


def find_finished_run(directory: Place) -> RunRecord:
    """Returns the recipe.json of a finished run: trained to its end, or imported.

    Raises:
        ArtifactError: if there is no run, or it is not finished.
    """
    about = find_run(directory)
    if not is_finished(directory):
        raise ArtifactError(
            f"A finished run was expected in {directory}, which holds an unfinished one; repeat "
            "the command that started it, which resumes it, or name another run."
        )
    return about


def directory_of_part(out: Place, part: str) -> Place:
    """Returns OUT-PART, the directory of one of a command's several runs.

    Raises:
        ArtifactError: if OUT has no name: `.`, `..`, a root or a bucket.
    """
    if out.name in ("", "..") or out.parent == out:
        raise ArtifactError(
            f"--out {out} was given for several runs, each of which is written to OUT-{part} or "
            "the like; name a directory, such as runs/switch."
        )
    return out.with_name(f"{out.name}-{part}")


def one_per_seed(
    out: Place, settings: tuple[str, ...], seeds: Sequence[int]
) -> Iterator[tuple[Place, tuple[str, ...]]]:
    """Yields the directory and the settings of each run: OUT-SEED for a seed, or OUT without seeds.

    Raises:
        ArtifactError: if OUT has no name.
    """
    if not seeds:
        yield out, settings
    for seed in seeds:
        yield directory_of_part(out, str(seed)), (*settings, f"seed={seed}")


def saved_steps(directory: Place) -> list[int]:
    """Returns the steps of a run's checkpoints, in order; none if it has none."""
    return steps_in(directory / "checkpoints")


def requested_step(directory: Place, step: int | None) -> int:
    """Returns the step of the requested checkpoint: for None the best or, without, the last one.

    Raises:
        ArtifactError: if there is no such checkpoint.
    """
    steps = saved_steps(directory)
    if not steps:
        raise ArtifactError(
            f"A checkpoint was expected in {directory / 'checkpoints'}, which holds none; let the "
            "command that started the run reach its first, or name another run."
        )
    if step is not None and step not in steps:
        raise ArtifactError(
            f"Checkpoint {step} of {directory} was asked for, which has {steps}; name one of these "
            "with --step, or omit it for the best or the last."
        )
    if step is not None:
        return step
    best = best_step(directory)
    return best if best in steps else steps[-1]


def checkpoint_read(name: str, directory: Place, step: int | None) -> Reading:
    """Returns a run's checkpoint as a command's reading; the best or the last one for None.

    Raises:
        ArtifactError: if there is no such checkpoint.
    """
    step = requested_step(directory, step)
    checkpoints, holds = directory / "checkpoints", f"the checkpoint of step {step:,}"
    folder = arrays_folder(checkpoints, step)
    if isinstance(folder, Path):
        return files_of(name, directory, folder.rglob("*"), holds)
    sizes = [file.size for file in files_below(folder)]
    return Reading(name, str(directory), len(sizes), sum(sizes), holds)


def _held_instead(directory: Place) -> str:
    if head_in(directory):
        return f"{held_instead(directory)}, no {RECIPE}"
    return f"holds no {RECIPE}" if is_directory(directory) else instead_of_directory(directory)


def check_same_vocabulary(directory: Place, blocks: "TokenBlocks") -> None:
    """Checks that a run and token blocks have the same vocabulary.

    Raises:
        ArtifactError: if the vocabularies differ.
    """
    model = directory / MODEL_FILE
    if digest_of_contents(model) != blocks.manifest.vocabulary.sha256:
        raise ArtifactError(
            f"{directory} and the tokens in {blocks.address} have different vocabularies; copy "
            f"that of the run (`mswitch vocabulary --model {model} --out VOCABULARY`), tokenize "
            "with it (`mswitch tokenize --corpus CORPUS --vocabulary VOCABULARY --out TOKENS`), "
            "and name the new tokens."
        )


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

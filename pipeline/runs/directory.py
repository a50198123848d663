"""A run's directory: its recipe, whether the run is finished, and its vocabulary.

Every command that reads a run uses these functions, so each fault has one message. JAX is not
imported, because a report needs none.
"""

from data.files.digests import digest_of_contents
from data.files.json_files import read_json
from data.files.paths import Address, Place, exists, files_below, instead_of_directory, is_directory
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.artifacts.claims import head_in, held_instead, is_finished
from pipeline.artifacts.intent import Reading, files_of
from pipeline.errors import ArtifactError
from pipeline.runs.best_step import best_step
from pipeline.runs.checkpoint_records import read_record, steps_in
from pipeline.runs.record import RunRecord

RECIPE = "recipe.json"


def find_run(directory: Place) -> RunRecord:
    """Returns the recipe.json of a run, finished or not.

    Raises:
        ArtifactError: if there is no run.
    """
    if not exists(directory / RECIPE):
        raise ArtifactError(
            f"A run was expected in {directory}, which {_held_instead(directory)}; name "
            "the --out of `mswitch pretrain`, finetune, distill, prune or import-hf."
        )
    return read_json(directory / RECIPE, RunRecord)


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
    """Returns a run's checkpoint as something that is read; the best or the last one for None.

    Raises:
        ArtifactError: if there is no such checkpoint.
    """
    step = requested_step(directory, step)
    checkpoints, holds = directory / "checkpoints", f"the checkpoint of step {step:,}"
    if isinstance(checkpoints, Address):
        folder = checkpoints / read_record(checkpoints, step).folder
        sizes = [file.size for file in files_below(folder)]
        return Reading(name, str(directory), len(sizes), sum(sizes), holds)
    return files_of(name, directory, (checkpoints / str(step)).rglob("*"), holds)


def _held_instead(directory: Place) -> str:
    if head_in(directory):
        return f"{held_instead(directory)}, no {RECIPE}"
    return f"holds no {RECIPE}" if is_directory(directory) else instead_of_directory(directory)


def check_same_vocabulary(directory: Place, blocks: TokenBlocks) -> None:
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

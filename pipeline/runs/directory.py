"""A run's directory: its recipe, whether the run is finished, and its vocabulary.

Every command that reads a run uses these functions, so each fault has one message. JAX is not
imported, because a report needs none.
"""

from pathlib import Path

from data.stores.digests import digest_of_contents
from data.stores.json_files import read_json
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.artifacts.claims import CLAIM, MANIFEST, read_head
from pipeline.artifacts.intent import Reading, files_of
from pipeline.errors import ArtifactError
from pipeline.runs.best_step import best_step
from pipeline.runs.record import RunRecord

RECIPE = "recipe.json"


def find_run(directory: Path) -> RunRecord:
    """Returns the recipe.json of a run, finished or not.

    Raises:
        ArtifactError: if there is no run.
    """
    if not (directory / RECIPE).exists():
        raise ArtifactError(
            f"A run was expected in {directory}, which {_held_instead(directory)}; name a "
            "directory that `mswitch pretrain`, `mswitch distill` or `mswitch import-hf` wrote."
        )
    return read_json(directory / RECIPE, RunRecord)


def find_finished_run(directory: Path) -> RunRecord:
    """Returns the recipe.json of a finished run: trained to its end, or imported.

    Raises:
        ArtifactError: if there is no run, or it is not finished.
    """
    about = find_run(directory)
    if not (directory / MANIFEST).exists():
        raise ArtifactError(
            f"A finished run was expected in {directory}, which holds an unfinished one; repeat "
            "the command that started it, which resumes it, or name another run."
        )
    return about


def saved_steps(directory: Path) -> list[int]:
    """Returns the steps of a run's checkpoints, in order; none if it has none."""
    found = (directory / "checkpoints").glob("*")
    return sorted(int(path.name) for path in found if path.name.isdigit())


def requested_step(directory: Path, step: int | None) -> int:
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


def checkpoint_read(name: str, directory: Path, step: int | None) -> Reading:
    """Returns a run's checkpoint as something that is read; the last one for None.

    Raises:
        ArtifactError: if there is no such checkpoint.
    """
    step = requested_step(directory, step)
    files = (directory / "checkpoints" / str(step)).rglob("*")
    return files_of(name, directory, files, f"the checkpoint of step {step:,}")


def _held_instead(directory: Path) -> str:
    for name, state in ((MANIFEST, ""), (CLAIM, "unfinished ")):
        if (directory / name).exists():
            return f"holds {state}{read_head(directory, name).stage} output, no {RECIPE}"
    return f"holds no {RECIPE}" if directory.is_dir() else "does not exist"


def check_same_vocabulary(directory: Path, blocks: TokenBlocks) -> None:
    """Checks that a run and token blocks have the same vocabulary.

    Raises:
        ArtifactError: if the vocabularies differ.
    """
    model = directory / MODEL_FILE
    if digest_of_contents(model) != blocks.manifest.vocabulary.sha256:
        raise ArtifactError(
            f"{directory} and the tokens in {blocks.directory} have different vocabularies; copy "
            f"that of the run (`mswitch vocabulary --model {model} --out VOCABULARY`), tokenize "
            "with it (`mswitch tokenize --corpus CORPUS --vocabulary VOCABULARY --out TOKENS`), "
            "and name the new tokens."
        )

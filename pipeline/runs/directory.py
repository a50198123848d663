"""A run's directory: what makes it one, finished or not, and which ids it reads.

All that reads a run finds it here, so that what is wrong with one is said in the same words. No JAX
is imported: a report needs none.
"""

from pathlib import Path
from typing import Any

from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.artifacts.claims import CLAIM, MANIFEST
from pipeline.artifacts.digests import digest_of_contents
from pipeline.errors import ArtifactError
from pipeline.json_files import read_json

RECIPE = "recipe.json"


def find_run(directory: Path) -> dict[str, Any]:
    """Returns what a run says of itself in recipe.json, be it finished or not.

    Raises:
        ArtifactError: there is no run.
    """
    if not (directory / RECIPE).exists():
        raise ArtifactError(
            f"A run was expected in {directory}, which {_held_instead(directory)}; name a "
            "directory that `mswitch pretrain`, `mswitch distill` or `mswitch import-hf` wrote."
        )
    return read_json(directory / RECIPE)


def find_finished_run(directory: Path) -> dict[str, Any]:
    """Returns what a run says of itself that was trained to its end, or imported.

    Raises:
        ArtifactError: there is no run, or it is not finished.
    """
    about = find_run(directory)
    if not (directory / MANIFEST).exists():
        raise ArtifactError(
            f"A finished run was expected in {directory}, which holds an unfinished one; give the "
            "command that began it again, which goes on to its end, or name another run."
        )
    return about


def _held_instead(directory: Path) -> str:
    for name, state in ((MANIFEST, ""), (CLAIM, "unfinished ")):
        if (directory / name).exists():
            return f"holds {state}{read_json(directory / name).get('stage')} output, no {RECIPE}"
    return f"holds no {RECIPE}" if directory.is_dir() else "does not exist"


def check_same_vocabulary(directory: Path, blocks: TokenBlocks) -> None:
    """Checks that a run reads the ids that tokens are made of.

    Raises:
        ArtifactError: it has another vocabulary.
    """
    model = directory / MODEL_FILE
    if digest_of_contents(model) != blocks.manifest["vocabulary"]["sha256"]:
        raise ArtifactError(
            f"{directory} has another vocabulary than the tokens in {blocks.directory}; make its "
            f"own anew (`mswitch vocabulary --model {model} --out VOCABULARY`), the tokens with it "
            "(`mswitch tokenize --corpus CORPUS --vocabulary VOCABULARY --out TOKENS`), and name "
            "these."
        )

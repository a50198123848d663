"""The directory of a Transformers model: its files, and the arrays of its weights one by one.

No JAX is imported, so that a directory without a model is refused before that is loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from data.files.paths import instead_of_directory, open_file
from pipeline.errors import LONGEST, ArtifactError, first_line

CONFIG, VOCABULARY = "config.json", "spiece.model"


def weight_files(directory: Path) -> list[Path]:
    """Returns the safetensors files of a Transformers model.

    Raises:
        ArtifactError: if there is no directory, none in it, no SentencePiece model, or no config.
    """
    if not directory.is_dir():
        raise ArtifactError(
            f"A Transformers model was expected in {directory}, which "
            f"{instead_of_directory(directory)}; name a directory that save_pretrained wrote."
        )
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise ArtifactError(
            f"{directory} should hold *.safetensors and holds none; load and save it with "
            "Transformers (from_pretrained, save_pretrained), which writes them."
        )
    if not (directory / VOCABULARY).exists():
        raise ArtifactError(
            f"{directory} should hold {VOCABULARY} (SentencePiece) and does not; put the model's "
            "own beside its weights: tokenizer.json alone is not read."
        )
    if not (directory / CONFIG).exists():
        raise ArtifactError(
            f"A Transformers model was expected in {directory}, which holds no {CONFIG}; name a "
            "directory that save_pretrained wrote."
        )
    return weights


def shapes_in(paths: list[Path]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the shape of each array by its name, from the headers alone.

    Raises:
        ArtifactError: if a file is damaged.
        DataError: if one is a pipe or a device.
    """
    for path in paths:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  it cannot be iterated
                yield name, tuple(file.get_slice(name).get_shape())


def arrays_in(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields each array by its name, in float32.

    Raises:
        ArtifactError: if a file is damaged, holds arrays of a type that is none of NumPy's, or
            weights that are not finite.
        DataError: if one is a pipe or a device.
    """
    for path in paths:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118  it cannot be iterated
                yield name, _finite(file.get_tensor(name), name)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens a file of weights; what is wrong with it is one sentence."""
    open_file(path).close()
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{path} cannot be read as safetensors ({first_line(error)[:LONGEST]}); fetch or "
            "save it again."
        ) from error


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array in float32.

    Raises:
        ValueError: if a weight is infinite or not a number.
    """
    with np.errstate(over="ignore"):  # of float64
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds weights that are infinite or not numbers")
    return array

"""The directory of a Transformers model: which files it has to hold.

No JAX is imported, so that a directory without a model is refused before that is loaded.
"""

from pathlib import Path

from data.files.paths import instead_of_directory
from pipeline.errors import ArtifactError

CONFIG, VOCABULARY = "config.json", "spiece.model"


def weight_files(directory: Path) -> list[Path]:
    """Returns the safetensors files of a Transformers model.

    Raises:
        ArtifactError: if there is no directory, none in it, or no SentencePiece model.
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
    return weights

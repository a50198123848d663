"""What pretraining believes of its token blocks, checked before the first step.

Sizes and languages always; checksums too as long as the blocks are small enough to be read in some
ten seconds. Larger ones are checked in full by `mswitch inspect DIR`, and record by record as they
are read: ArrayRecord keeps a checksum a record and raises, so that nothing altered is trained on.
"""

from typing import Any

from data.stores.digests import digest_of_contents
from data.tokens.block_checks import total_bytes, verify_contents, verify_languages, verify_sizes
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from pipeline.errors import ArtifactError
from pipeline.recipe.recipe import Recipe

CHECKSUM_BYTES = 8_000_000_000  # 8 s at 1 GB/s


def check_blocks(blocks: TokenBlocks) -> None:
    """Checks files, languages and the vocabulary beside the blocks.

    Raises:
        DataError: a missing, truncated or altered file, or a language without tokens.
        ArtifactError: the vocabulary is another one than the blocks were made with.
    """
    verify_sizes(blocks)
    verify_languages(blocks)
    if not blocks.files.staged and total_bytes(blocks) <= CHECKSUM_BYTES:
        verify_contents(blocks)
    model = blocks.directory / MODEL_FILE
    if not model.exists() or digest_of_contents(model) != blocks.manifest["vocabulary"]["sha256"]:
        raise ArtifactError(
            f"{model} should be the vocabulary that the blocks were made with and is missing or "
            "another (checksum); restore it or tokenize again."
        )


def check_vocabulary(recipe: Recipe, vocabulary: dict[str, Any]) -> None:
    """Checks that the network has a row for every id of the blocks.

    Raises:
        ArtifactError: the vocabulary has another number of rows.
    """
    has, needs = recipe.model.vocabulary_rows, vocabulary["vocabulary_rows"]
    if has != needs:
        raise ArtifactError(
            f"Recipe {recipe.name} has {has} vocabulary rows and the tokens need {needs}; add "
            f"--set model.vocabulary_rows={needs}, or tokenize with another vocabulary."
        )

"""Token blocks, opened by directory or by object-store address, and checked before they are used.

They are checked when they are made and before the first training step: sizes and languages always,
checksums too if the blocks can be read in some ten seconds. `mswitch inspect DIR` checks larger
ones in full. In any case each record is checked as it is read: ArrayRecord keeps one checksum per
record and raises, so nothing altered is trained on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.examples.mixture import TextSizes
from data.examples.span_corruption import MOST_INPUTS, lengths_for_inputs
from data.files.paths import Place, is_remote
from data.tokens import block_files
from data.tokens.blocks import (
    TokenBlocks,
    total_bytes,
    verify_contents,
    verify_languages,
    verify_model,
    verify_sizes,
)
from data.tokens.manifest import TokenManifest, VocabularyFacts
from data.tokens.tokenizer import MODEL_FILE
from pipeline.artifacts import MANIFEST, TOKENS, read_manifest
from pipeline.corpus.pages import split_pages
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.recipe.recipe import Recipe

CHECKSUM_BYTES = 8_000_000_000  # 8 s at 1 GB/s


def open_blocks(place: str, cache: CacheOptions) -> TokenBlocks:
    """Returns finished token blocks; their `directory` is always on this host.

    Raises:
        ArtifactError: if there are no finished token blocks.
        DataError: if the store cannot be read.
    """
    if not is_remote(place):
        return TokenBlocks(Path(place), read_manifest(Path(place), TOKENS.stages, TokenManifest))
    directory, files = block_files.open_directory(
        place, (MANIFEST, MODEL_FILE), cache.directory.expanduser(), cache.limit_bytes
    )
    return TokenBlocks(directory, read_manifest(directory, TOKENS.stages, TokenManifest), files)


def training_sizes(blocks: TokenBlocks) -> TextSizes:
    """Returns the numbers of training pages and characters by language."""
    return TextSizes(blocks.counts("train", "pages"), blocks.counts("train", "characters"))


def check_pages(languages: Mapping[str, Any], corpora: Sequence[str]) -> None:
    """Checks that blocks show all pages of their corpora, of which files may be missing or added.

    Args:
        languages: the manifest's entries.
        corpora: directories of the corpora.

    Raises:
        ArtifactError: if they show more or fewer pages than the corpora's manifests count.
    """
    kept = split_pages(corpora)
    shown = {
        f"{code}/{split}": counts["pages"]
        for code, splits in languages.items()
        for split, counts in splits.items()
    }
    wrong = [name for name, count in shown.items() if count != kept[name]]
    if wrong:
        pages = ", ".join(f"{shown[name]:,} of {kept[name]:,} in {name}" for name in wrong[:8])
        raise ArtifactError(
            f"{' '.join(corpora)} should hold the pages that its manifest counts, and its files do "
            f"not ({pages}{', ...' if wrong[8:] else ''}); restore the files below pages/, and "
            "run the same command again."
        )


def check_blocks(blocks: TokenBlocks) -> None:
    """Checks files, languages and the vocabulary beside the blocks.

    Raises:
        DataError: if a file is missing, truncated or altered, a language has no tokens, or the
            blocks were made with another vocabulary.
    """
    verify_sizes(blocks)
    verify_languages(blocks)
    if not blocks.files.staged and total_bytes(blocks) <= CHECKSUM_BYTES:
        verify_contents(blocks)
    verify_model(blocks)


def check_held_out(blocks: TokenBlocks, remedy: str = "") -> None:
    """Checks that there are held-out tokens to score.

    Args:
        blocks: token blocks.
        remedy: what else to do about it, for the message.

    Raises:
        ArtifactError: if there are none.
    """
    if not sum(blocks.counts("validation", "tokens").values()):
        raise ArtifactError(
            f"{blocks.address} holds no held-out page to evaluate on; clean into another "
            f"directory with --validation-minimum 10 and tokenize that{remedy}."
        )


def check_holds_windows(run: Place, recipe: Recipe) -> None:
    """Checks that a run's rows have room for windows of text with hidden spans.

    Raises:
        ArtifactError: if its inputs are longer than sentinels can mark, or its targets shorter, as
            those of a run fine-tuned on tasks alone may be.
    """
    if recipe.inputs > MOST_INPUTS:
        raise ArtifactError(
            f"{run} was fine-tuned with inputs of {recipe.inputs:,} tokens, and 100 sentinels mark "
            f"the spans of at most {MOST_INPUTS:,}; leave --tokens out."
        )
    has, needs = recipe.lengths.targets, lengths_for_inputs(recipe.inputs).targets
    if has < needs:
        raise ArtifactError(
            f"{run} was fine-tuned with targets of {has} tokens, and windows of {recipe.inputs} "
            f"inputs have {needs}; leave --tokens out, or fine-tune with --set "
            f"finetuning.targets={needs}."
        )


def check_vocabulary(recipe: Recipe, vocabulary: VocabularyFacts) -> None:
    """Checks that the network has one row per id of the vocabulary.

    Raises:
        ArtifactError: if the network has another number of rows.
    """
    has, needs = recipe.model.vocabulary_rows, vocabulary.vocabulary_rows
    if has != needs:
        raise ArtifactError(
            f"Recipe {recipe.name} has {has} vocabulary rows and the tokens need {needs}; add "
            f"--set model.vocabulary_rows={needs}, or tokenize with another vocabulary."
        )

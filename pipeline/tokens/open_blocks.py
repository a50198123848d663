"""Opens token blocks by directory or by object-store address; see `data/tokens/block_files.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from data.examples.mixture import TextSizes
from data.files.paths import is_remote
from data.tokens import block_files
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.tokenizer import MODEL_FILE
from pipeline.arguments import CacheOptions, Distill, Evaluate, Finetune, Pretrain, Prune, Time
from pipeline.artifacts.claims import MANIFEST, read_manifest

Arguments = TypeVar("Arguments", Pretrain, Finetune, Distill, Prune, Evaluate, Time)


def open_blocks(place: str, cache: CacheOptions) -> TokenBlocks:
    """Returns finished token blocks; their `directory` is always on this host.

    Raises:
        ArtifactError: if there are no finished token blocks.
        DataError: if the store cannot be read.
    """
    if not is_remote(place):
        return TokenBlocks(Path(place), read_manifest(Path(place), "tokenize", TokenManifest))
    directory, files = block_files.open_directory(
        place, (MANIFEST, MODEL_FILE), cache.directory.expanduser(), cache.limit_bytes
    )
    return TokenBlocks(directory, read_manifest(directory, "tokenize", TokenManifest), files)


@contextmanager
def cached_nowhere(arguments: Arguments) -> Iterator[Arguments]:
    """Yields a command's arguments with a cache that is removed afterwards, for a dry run."""
    with TemporaryDirectory() as directory:
        yield replace(arguments, cache=CacheOptions(directory=Path(directory)))


def training_sizes(blocks: TokenBlocks) -> TextSizes:
    """Returns the numbers of training pages and characters by language."""
    return TextSizes(blocks.counts("train", "pages"), blocks.counts("train", "characters"))

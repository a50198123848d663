"""Opens token blocks by directory or by object-store address; see `data/stores/staging.py`."""

from pathlib import Path

from data.examples.mixture import TextSizes
from data.stores import staging
from data.stores.files import is_remote
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.tokenizer import MODEL_FILE
from pipeline.arguments import CacheOptions
from pipeline.artifacts.claims import MANIFEST, read_manifest


def open_blocks(place: str, cache: CacheOptions) -> TokenBlocks:
    """Returns finished token blocks; their `directory` is always on this host.

    Raises:
        ArtifactError: if there are no finished token blocks.
        DataError: if the store cannot be read.
    """
    if not is_remote(place):
        return TokenBlocks(Path(place), read_manifest(Path(place), "tokenize", TokenManifest))
    directory, files = staging.open_directory(
        place, (MANIFEST, MODEL_FILE), cache.directory.expanduser(), cache.limit_bytes
    )
    return TokenBlocks(directory, read_manifest(directory, "tokenize", TokenManifest), files)


def training_sizes(blocks: TokenBlocks) -> TextSizes:
    """Returns the numbers of training pages and characters by language."""
    return TextSizes(blocks.counts("train", "pages"), blocks.counts("train", "characters"))

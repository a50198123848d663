"""Token blocks that differ from others in one respect."""

from msgspec.structs import replace

from data.tokens.blocks import TokenBlocks


def with_another_vocabulary(blocks: TokenBlocks, sha256: str = "f" * 64) -> TokenBlocks:
    """Returns the same blocks under the digest of another vocabulary."""
    vocabulary = replace(blocks.manifest.vocabulary, sha256=sha256)
    return TokenBlocks(blocks.directory, replace(blocks.manifest, vocabulary=vocabulary))

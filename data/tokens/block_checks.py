"""Compares token blocks with their manifest: sizes in milliseconds, contents at disk speed.

The sizes reveal missing and truncated files, the checksums altered ones. SHA-256 takes one core
about a second per GB.
"""

from collections.abc import Iterator

from data.errors import DataError
from data.stores.digests import digest_of_contents
from data.tokens.block_files import BlockFile, verified
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import Shard
from data.tokens.tokenizer import MODEL_FILE


def total_bytes(blocks: TokenBlocks) -> int:
    """Returns the size of all blocks, according to the manifest."""
    return sum(shard.file_bytes for shard in all_shards(blocks))


def verify_sizes(blocks: TokenBlocks) -> None:
    """Compares the size of every block with the manifest.

    Raises:
        DataError: if a file is missing or truncated; the message names it.
    """
    for shard in all_shards(blocks):
        address = _existing(blocks, shard.records)
        size = blocks.files.size(shard.records.name)
        if size != shard.file_bytes:
            raise DataError(
                f"{address} has {size:,} bytes and the manifest records {shard.file_bytes:,}; "
                "restore the file or tokenize again."
            )


def verify_contents(blocks: TokenBlocks) -> None:
    """Compares every file with its checksum.

    Raises:
        DataError: if a file is missing, truncated or altered; the message names it.
    """
    for shard in all_shards(blocks):
        for file in filter(None, (shard.records, shard.page_table, shard.skip_list)):
            with verified(blocks.files, file):
                pass


def verify_languages(blocks: TokenBlocks) -> None:
    """Checks that every language of the manifest has training tokens.

    Raises:
        DataError: if there is no language, or one without training tokens.
    """
    present = blocks.languages("train")
    empty = [code for code in blocks.manifest.languages if code not in present]
    if empty or not present:
        raise DataError(
            f"{blocks.address}/manifest.json has {', '.join(empty) or 'no language'} without "
            "training tokens; leave out those pages when cleaning, or add text, and tokenize again."
        )


def all_shards(blocks: TokenBlocks) -> Iterator[Shard]:
    """Yields every shard of every language and split."""
    for language, splits in blocks.manifest.languages.items():
        for split in splits:
            yield from blocks.shards(language, split)


def _existing(blocks: TokenBlocks, file: BlockFile) -> str:
    """Returns the address of a file that exists.

    Raises:
        DataError: if the file is missing.
    """
    address = blocks.files.address(file.name)
    if blocks.files.size(file.name) is None:
        raise DataError(f"Token blocks should hold {address}, which is missing; tokenize again.")
    return address


def verify_model(blocks: TokenBlocks) -> None:
    """Checks the vocabulary beside the blocks.

    Raises:
        DataError: if it is missing, or the blocks were made with another one.
    """
    model = blocks.directory / MODEL_FILE
    if not model.exists() or digest_of_contents(model) != blocks.manifest.vocabulary.sha256:
        raise DataError(
            f"{model} should be the vocabulary that the blocks were made with and is missing or "
            "another (checksum); restore it or tokenize again."
        )

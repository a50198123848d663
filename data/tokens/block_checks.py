"""Are token blocks what their manifest says? Sizes in milliseconds, contents at a disk's speed.

A missing or truncated file has another size; an altered one only another checksum. SHA-256 reads
some 1 GB a second on one core of today's processors.
"""

from collections.abc import Iterator

from data.errors import DataError
from data.stores.digests import digest_of_contents
from data.tokens.block_files import BlockFile
from data.tokens.blocks import Shard, TokenBlocks


def total_bytes(blocks: TokenBlocks) -> int:
    """Returns the size of all blocks, as the manifest says it."""
    return sum(shard.file_bytes for shard in all_shards(blocks))


def verify_sizes(blocks: TokenBlocks) -> None:
    """Compares the size of every block with the manifest.

    Raises:
        DataError: a missing or truncated file, by name.
    """
    for shard in all_shards(blocks):
        address = _existing(blocks, shard.records)
        size = blocks.files.size(shard.records.name)
        if size != shard.file_bytes:
            raise DataError(
                f"{address} has {size:,} bytes and the manifest says {shard.file_bytes:,}; "
                "restore the file or tokenize again."
            )


def verify_contents(blocks: TokenBlocks) -> None:
    """Compares every file with its checksum.

    Raises:
        DataError: a missing, truncated or altered file, by name.
    """
    for shard in all_shards(blocks):
        for file in (shard.records, shard.page_table):
            address = _existing(blocks, file)
            with blocks.files.pin(file) as path:
                if digest_of_contents(path) != file.sha256:
                    raise DataError(
                        f"{address} is not what the manifest says (checksum); "
                        "restore the file or tokenize again."
                    )


def verify_languages(blocks: TokenBlocks) -> None:
    """Checks that every language of the manifest has something to train on.

    Raises:
        DataError: no language, or one without training tokens.
    """
    present = blocks.languages("train")
    empty = [code for code in blocks.manifest["languages"] if code not in present]
    if empty or not present:
        raise DataError(
            f"{blocks.directory}/manifest.json has {', '.join(empty) or 'no language'} without "
            "training tokens; leave out those pages when cleaning, or add text, and tokenize again."
        )


def all_shards(blocks: TokenBlocks) -> Iterator[Shard]:
    """Yields every shard of every language and split."""
    for language, splits in blocks.manifest["languages"].items():
        for split in splits:
            yield from blocks.shards(language, split)


def _existing(blocks: TokenBlocks, file: BlockFile) -> str:
    """Returns where the file is, if it is there."""
    address = blocks.files.address(file.name)
    if blocks.files.size(file.name) is None:
        raise DataError(f"Token blocks should hold {address}, which is missing; tokenize again.")
    return address

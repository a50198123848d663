"""Token blocks of numbers that follow a rule, two held-out pages per language."""

from pathlib import Path

import numpy as np

from data.files.json_files import of_shape
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.shards import TokenizedPage, manifest_entry, token_dtype, write_shard

VOCABULARY = {
    "vocabulary_size": 1024,
    "vocabulary_rows": 1024,
    "first_sentinel": 1023,
    "byte_ids": [3, 259],
    "sha256": "0" * 64,
}


def make_blocks(
    directory: Path, tokens: dict[str, int], page_tokens: int = 300, ids: int = 903
) -> TokenBlocks:
    """Returns blocks of `tokens` training tokens per language and two held-out pages."""
    dtype = token_dtype(1024)
    entries = {}
    for number, (language, count) in enumerate(tokens.items()):
        stream = 3 + (np.arange(count) * 7 + number) % (ids - 3)
        pages = [
            TokenizedPage(f"https://{language}.example/{start}", part, 3 * len(part), 2 * len(part))
            for start in range(0, count, page_tokens)
            if len(part := stream[start : start + page_tokens])
        ]
        half = len(pages) // 2
        entries[language] = {
            "train": manifest_entry(
                write_shard(directory, f"{language}/train-{i:05d}-of-00002", part, dtype)
                for i, part in enumerate((pages[:half], pages[half:]))
            ),
            "validation": manifest_entry(
                [write_shard(directory, f"{language}/validation-00000-of-00001", pages[:2], dtype)]
            ),
        }
    manifest = {"token_dtype": dtype.str, "vocabulary": VOCABULARY, "languages": entries}
    return TokenBlocks(directory, of_shape(manifest, TokenManifest, "here"))

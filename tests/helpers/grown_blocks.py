"""Token blocks that begin with other ones: the same shards, and one more per language."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import to_builtins

from data.files.json_files import of_shape
from data.tokens.blocks import TokenBlocks
from data.tokens.manifest import TokenManifest
from data.tokens.shards import TokenizedPage, manifest_entry, write_shard


def grown(old: TokenBlocks, directory: Path, added: Mapping[str, int]) -> TokenBlocks:
    """Returns the blocks of `old` in another directory, with more tokens of some languages."""
    shutil.copytree(old.directory, directory, dirs_exist_ok=True)
    manifest = to_builtins(old.manifest)
    for code, count in added.items():
        page = TokenizedPage(f"https://new.example/{code}", 3 + np.arange(count) % 97, count, 1)
        shard = write_shard(directory, f"{code}/train-more", [page], old.dtype)
        before = old.shards(code, "train") if code in old.manifest.languages else ()
        # As `train-more` sorts after the others, the entry begins with the old shards.
        entry = manifest_entry([*before, shard])
        manifest["languages"].setdefault(code, {})["train"] = entry
    return TokenBlocks(directory, of_shape(manifest, TokenManifest, "here"))

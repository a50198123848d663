"""Artifacts that others may have written: manifests, tokens' manifests, recipes."""

import json
from pathlib import Path

from family import Family, Read

from data.corpus_manifest import CorpusManifest
from data.tokens.manifest import TokenManifest
from pipeline.artifacts import read_manifest
from pipeline.recipe.named import switch_demo
from pipeline.recipe.recipe import recipe_from_json, recipe_to_json
from pipeline.runs.directory import find_run

CLEAN = {
    "schema_version": 2, "stage": "clean", "settings": {"rules": "mc4"}, "inputs": {},
    "languages": {"sw": {"kept": 3, "rejected": {"too_long": 1}, "characters": 99}},
}  # fmt: skip
COUNTS = {
    "pages": 2, "tokens": 40, "text_bytes": 90, "characters": 80, "unknown_tokens": 1,
    "byte_tokens": 3,
}  # fmt: skip
SHARD = COUNTS | {
    "name": "sw/train-00000-of-00001", "file_bytes": 500, "sha256": "a" * 64,
    "pages_sha256": "b" * 64,
}  # fmt: skip
TOKENS = {
    "schema_version": 2, "stage": "tokenize", "settings": {}, "inputs": {}, "token_dtype": "<u2",
    "vocabulary": {
        "vocabulary_size": 380, "vocabulary_rows": 384, "first_sentinel": 379,
        "byte_ids": [3, 259], "sha256": "c" * 64,
    },
    "languages": {"sw": {"train": COUNTS | {"shards": [SHARD]}}},
}  # fmt: skip
RUN = {"recipe": recipe_to_json(switch_demo()), "inputs": {}, "numerics_version": 2}


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def manifest(name: str, content: dict, stage: str, body: type) -> Family:
    """Returns the family of a stage's manifest."""

    def read(path: Path) -> Read:
        read_manifest(path.parent, stage, body)
        return Read(1, False)

    return Family(name=name, file="manifest.json", seeds=(as_json(content),), read=read)


def read_recipe(path: Path) -> Read:
    recipe_from_json(find_run(path.parent).recipe, str(path))
    return Read(1, False)


FAMILIES = (
    manifest("manifest of clean", CLEAN, "clean", CorpusManifest),
    manifest("manifest of tokenize", TOKENS, "tokenize", TokenManifest),
    Family(name="recipe of a run", file="recipe.json", seeds=(as_json(RUN),), read=read_recipe),
)

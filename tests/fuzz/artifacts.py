"""Artifacts that others may have written: manifests."""

import json
from pathlib import Path

from family import Family, Read

from pipeline.artifacts.claims import read_manifest

CLEAN = {
    "schema_version": 2, "stage": "clean", "settings": {"rules": "mc4"}, "inputs": {},
    "languages": {"sw": {"kept": 3, "rejected": {"too_long": 1}, "characters": 99}},
}  # fmt: skip


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def read_clean(path: Path) -> Read:
    return Read(len(read_manifest(path.parent, "clean")), False)


FAMILIES = (
    Family(
        name="manifest of clean", file="manifest.json", seeds=(as_json(CLEAN),), read=read_clean
    ),
)

"""Small files that people read too: JSON as every artifact has it, written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        ArtifactError: the file is not JSON.
    """
    return parsed(path.read_bytes(), path)


def parsed(content: bytes, path: Path | str) -> dict[str, Any]:
    """Returns the JSON object that is the content of a file.

    Raises:
        ArtifactError: it is not JSON.
    """
    try:
        return json.loads(content)
    except ValueError as error:
        raise ArtifactError(
            f"{path} should hold JSON and does not ({error}); restore it or remove the directory."
        ) from error


def as_json(value: Mapping[str, Any]) -> str:
    """Returns JSON as every artifact has it, for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON as `write_text` writes text."""
    write_text(path, as_json(value))


def write_text(path: Path, text: str) -> None:
    """Writes a file so that a reader sees the old one or the whole new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)

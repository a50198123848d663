"""JSON files that people read too, local or remote, written atomically."""

import json
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.stores import atomic, files


def read_json(path: str | Path) -> Any:
    """Returns the JSON value in a file.

    Raises:
        DataError: if the file does not hold JSON.
    """
    try:
        return json.loads(files.read_bytes(path))
    except ValueError as error:
        raise DataError(
            f"{path} should hold JSON and does not ({error}); restore it or remove the directory."
        ) from error


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON value atomically, indented for people."""
    atomic.write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

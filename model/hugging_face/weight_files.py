"""The files of an export's weights: one, or several with an index, as Transformers writes them."""

import math
from collections.abc import Mapping
from typing import Any

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
MOST_BYTES = 5 * 10**9  # of a file, and so of the weights that a host holds at one time
FLOAT32_BYTES = 4


def weight_files(
    shapes: Mapping[str, tuple[int, ...]], most_bytes: int = MOST_BYTES
) -> dict[str, list[str]]:
    """Returns the names of the arrays in each file, in the order of the arrays.

    Args:
        shapes: shapes of the exported float32 arrays, by name.
        most_bytes: largest number of bytes in a file, unless one array alone has more.
    """
    parts: list[list[str]] = [[]]
    size = 0
    for name, shape in shapes.items():
        more = FLOAT32_BYTES * math.prod(shape)
        if parts[-1] and size + more > most_bytes:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += more
    if len(parts) == 1:
        return {WEIGHTS: parts[0]}
    count = len(parts)
    return {
        f"model-{number:05d}-of-{count:05d}.safetensors": part
        for number, part in enumerate(parts, 1)
    }


def index_of(
    files: Mapping[str, list[str]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """Returns the index of several files, which names the file of each array."""
    size = sum(FLOAT32_BYTES * math.prod(shape) for shape in shapes.values())
    return {
        "metadata": {"total_size": size},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }

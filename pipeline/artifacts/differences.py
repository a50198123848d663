"""Differences between two JSON values, named by their paths."""

from typing import Any


def json_differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Returns one line per value that differs between two JSON values, named by its path."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        return [
            line
            for key in keys
            for line in json_differences(
                found.get(key), wanted.get(key), f"{name}.{key}".lstrip(".")
            )
        ]
    return [] if found == wanted else [f"{name}: there {found!r}, asked {wanted!r}"]


def json_leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Returns the values of a JSON object that are not objects themselves, by their paths."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        path: leaf
        for key, part in value.items()
        for path, leaf in json_leaves(part, f"{name}.{key}".lstrip(".")).items()
    }

"""Differences between two JSON values, named by their paths."""

from collections.abc import Iterator
from typing import Any


def json_differences(found: Any, second: Any, name: str = "", *, other: str = "asked") -> list[str]:
    """Returns one line per value that differs between two JSON values, named by its path.

    Args:
        found: one value, which is said to be there.
        second: another one.
        name: path of both.
        other: word for the second value.
    """
    if isinstance(found, dict) and isinstance(second, dict):
        keys = sorted(found.keys() | second.keys())
        return [
            line
            for key in keys
            for line in json_differences(
                found.get(key), second.get(key), f"{name}.{key}".lstrip("."), other=other
            )
        ]
    if found == second:
        return []
    return [f"{name}: there {words_of(found)}, {other} {words_of(second)}"]


def words_of(value: Any) -> str:
    """Returns a JSON value in words, for people."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(words_of, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {words_of(part)}" for key, part in value.items()) or "none"
    return str(value)


def json_leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Returns the values of a JSON object that are not objects themselves, by their paths."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        path: leaf
        for key, part in value.items()
        for path, leaf in json_leaves(part, f"{name}.{key}".lstrip(".")).items()
    }


def unknown_fields(given: Any, known: Any, name: str = "") -> Iterator[str]:
    """Yields the paths of the fields that another JSON value of the same shape does not have."""
    if isinstance(given, (list, tuple)) and isinstance(known, (list, tuple)):
        given, known = dict(enumerate(given)), dict(enumerate(known))
    if not (isinstance(given, dict) and isinstance(known, dict)):
        return
    for key, part in given.items():
        path = f"{name}.{key}".lstrip(".")
        if key in known:
            yield from unknown_fields(part, known[key], path)
        else:
            yield path

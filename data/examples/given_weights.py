"""A user's weights of languages: JSON {"sw": 0.5}, or lines of a language, a tab and a weight."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from data.errors import DataError
from data.languages import get


def given_weights(path: Path, pages: Mapping[str, int]) -> dict[str, float]:
    """Returns the weights in a user's file; languages that are not in it are not trained on.

    Args:
        path: the file.
        pages: number of training pages by language.

    Raises:
        DataError: if the file cannot be read, a weight is not positive, or a language is listed
            twice or has no pages.
    """
    given = _read(path)
    if twice := _twice(name for name, _ in given):
        raise DataError(f"{path} gives {twice} more than one weight; leave one line of each.")
    weights = {get(name).code: _number(path, name, text) for name, text in given}
    unusable = [code for code, weight in weights.items() if not weight > 0]
    if unusable or not weights:
        raise DataError(
            f"{path} gives no positive weight to {', '.join(unusable) or 'any language'}; "
            "leave out languages that are not trained on."
        )
    absent = [code for code in weights if pages.get(code, 0) < 1]
    if absent:
        raise DataError(
            f"{path} gives weights to {', '.join(absent)}, of which there is no training page; "
            "take them out of the file or add text."
        )
    return weights


def _read(path: Path) -> list[tuple[str, str]]:
    """Returns languages and weights as they are written, in order."""
    if not path.is_file():
        raise DataError(
            f"The mixture reads weights from {path}, which is not a file; check the path."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("{"):
            # As pairs: a dict would silently keep the last of two weights.
            pairs = json.loads(text, object_pairs_hook=list)
            return [(code, str(value)) for code, value in pairs]
        rows = csv.reader(text.splitlines(), delimiter="\t")
        return [(code, value) for code, value in filter(None, rows)]
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        raise DataError(
            f'{path} should hold JSON such as {{"sw": 0.5}} or a language, a tab and a weight per '
            f"line, and does not ({error}); use one of these formats."
        ) from error


def _twice(names: Iterable[str]) -> str:
    """Returns the languages that are named more than once, with these names."""
    of: dict[str, list[str]] = defaultdict(list)
    for name in names:
        of[get(name).code].append(name)
    return ", ".join(f"{code} ({', '.join(some)})" for code, some in of.items() if len(some) > 1)


def _number(path: Path, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"{path} gives {name} the weight {text!r}, which is not a finite number; correct it."
        )
    return number

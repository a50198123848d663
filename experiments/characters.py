"""Does the gain follow the length of tokens in characters?

    python experiments/characters.py --tokens TOKENS ... --reports REPORT ... --out FILE

Each token blocks' directory is read with the report of runs on it. Writes characters per token of
the training text and the gain by language, and prints Spearman's correlation over languages without
script variants: over all, and over those that are not in Latin script.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tyro
from scipy import stats

FIELDS = "ids", "language", "script", "characters_per_token", "gain_nats"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Tokens, and a report for each."""

    tokens: tuple[Path, ...]
    """Token blocks, one directory per vocabulary."""
    reports: tuple[Path, ...]
    """Directory of the report of runs on each, in the same order."""
    out: Path
    """Table to write."""


class Row(NamedTuple):
    """One language with one vocabulary."""

    ids: int
    language: str
    script: str
    characters_per_token: float
    gain_nats: float


def rows(tokens: Path, report: Path) -> Iterator[Row]:
    """Yields the languages of a report, script variants left out."""
    manifest = json.loads((tokens / "manifest.json").read_text())
    gains = json.loads((report / "report.json").read_text())["languages"]
    for code, gain in sorted(gains.items()):
        if not gain["script_variant"]:
            train = manifest["languages"][code]["train"]
            length = train["characters"] / train["tokens"]
            yield Row(
                manifest["vocabulary"]["vocabulary_size"],
                code,
                gain["script"],
                length,
                gain["gain_nats"],
            )


def correlation(languages: list[Row]) -> float:
    """Returns Spearman's correlation of length and gain."""
    lengths, gains = zip(
        *((row.characters_per_token, row.gain_nats) for row in languages), strict=True
    )
    return float(stats.spearmanr(lengths, gains).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def main(arguments: Arguments) -> None:
    """Writes the table, and prints the correlations of each vocabulary."""
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for tokens, report in zip(arguments.tokens, arguments.reports, strict=True):
            languages = list(rows(tokens, report))
            writer.writerows((*row[:3], f"{row[3]:.4f}", f"{row[4]:.5f}") for row in languages)
            others = [row for row in languages if row.script != "Latn"]
            print(
                f"{languages[0].ids:,} ids: {correlation(languages):.2f} over {len(languages)} "
                f"languages, {correlation(others):.2f} over {len(others)} not in Latin script"
            )


if __name__ == "__main__":
    main(tyro.cli(Arguments))

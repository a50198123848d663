"""How often a run will read each language, computed and printed before its first step.

One epoch is all training tokens of a language once. Small languages repeat most: with temperature
0.3 and 10^12 tokens, the smallest of mC4 are read more than 100 times.
"""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Column, Table

from data.examples.loader import Examples

SHOWN = 5  # number of languages at each end of the printed table


def exposure(examples: Examples, count: int) -> dict[str, dict[str, float]]:
    """Returns the exposure of each language over `count` examples; the content of mixture.json."""
    tokens = examples.blocks.counts("train", "tokens")
    rows = {}
    for code in examples.schedule.languages:
        share = examples.schedule.share(code)
        seen = share * count * examples.lengths.raw
        rows[code] = {
            "weight": share,
            "examples": round(share * count),
            "tokens_seen": round(seen),
            "epochs": seen / tokens[code],
        }
    return rows


def print_exposure(languages: Mapping[str, Mapping[str, float]], console: Console) -> None:
    """Prints the most and the least repeated languages."""
    ordered = sorted(languages, key=lambda code: languages[code]["epochs"], reverse=True)
    numbers = (Column(name, justify="right") for name in ("share %", "tokens seen", "epochs"))
    table = Table("language", *numbers, title="repeated most and least")
    for code in ordered[:SHOWN]:
        table.add_row(code, *_cells(languages[code]))
    table.add_section()
    for code in ordered[SHOWN:][-SHOWN:]:
        table.add_row(code, *_cells(languages[code]))
    console.print(table)


def _cells(row: Mapping[str, float]) -> tuple[str, str, str]:
    return f"{100 * row['weight']:.2f}", f"{row['tokens_seen']:,}", f"{row['epochs']:.3g}"

"""How often a run will read each language, computed and printed before its first step.

One epoch is all training tokens of a language once. Small languages repeat most: with temperature
0.3 and 10^12 tokens, the smallest of mC4 are read more than 100 times.
"""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Column, Table

from data.examples.pretraining_examples import Exposure

SHOWN = 5  # number of languages at each end of the printed table


def print_exposure(languages: Mapping[str, Exposure], console: Console) -> None:
    """Prints the most and the least repeated languages."""
    ordered = sorted(languages, key=lambda code: languages[code].epochs, reverse=True)
    numbers = (Column(name, justify="right") for name in ("share %", "tokens seen", "epochs"))
    table = Table("language", *numbers, title="repeated most and least")
    for code in ordered[:SHOWN]:
        table.add_row(code, *_cells(languages[code]))
    table.add_section()
    for code in ordered[SHOWN:][-SHOWN:]:
        table.add_row(code, *_cells(languages[code]))
    console.print(table)


def _cells(row: Exposure) -> tuple[str, str, str]:
    return f"{100 * row.weight:.2f}", f"{row.tokens_seen:,}", f"{row.epochs:.3g}"

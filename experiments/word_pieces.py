"""Is it the script, or the characters of a token? `decayed.py` with 8,192 ids instead of 2,048.

    python experiments/word_pieces.py [--documents DIR] [--web GLOB] [--out DIR]

At 2,048 ids languages in Latin script gain more from experts than others
(docs/results/decayed.md). But there a token has 1.67 characters of Latin script and 1.09 of others,
and a letter may not be worth an expert. Here the vocabulary is trained on text in which scripts
weigh less the more languages share them, so that a token of every script has 1.6 to 1.7 characters
in the mean: as many as one of Latin script had. If scripts still differ, characters per token are
not the cause. Runs, text and report are those of `decayed.py`, whose shortest length is the default
here. Four seeds per side take about four hours on one core.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import decayed
import multilingual
import tyro

from data import languages

IDS = 8_192
ROWS = f"model.vocabulary_rows={IDS}"
# A language weighs (languages of its script) ** -EVEN. Characters per token in Latin script,
# Cyrillic script and the 29 others: 2.27, 1.96, 1.50 with temperature 0.3; 1.89, 1.75, 1.69 with
# 0.5; and 1.70, 1.63, 1.72 with 0.75.
EVEN = 0.75


@dataclass(frozen=True, kw_only=True)
class Arguments(decayed.Arguments):
    """Where the text is, and where results are written."""

    out: Path = Path("runs/word-pieces")
    """Directory for all results."""
    lengths: int = 1
    """Number of lengths, the shortest first; a later start that names more makes trunks longer."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, seed by seed, and writes the report."""
    prepare(arguments)
    decayed.compare(arguments, ROWS)


def prepare(arguments: multilingual.Arguments) -> None:
    """Makes token blocks with a vocabulary of even characters per token.

    Raises:
        SystemExit: if there are no documents.
    """
    if not arguments.documents.is_dir():
        raise SystemExit(f"--documents was {arguments.documents}, which is not a directory.")
    mixture = arguments.out / "weights.json"
    mixture.parent.mkdir(parents=True, exist_ok=True)
    mixture.write_text(json.dumps(weights(arguments.documents)))
    text = multilingual.ALL_LANGUAGES._replace(
        vocabulary=(
            f"--size={IDS}",
            "--character-coverage=0.98",
            "--sample-characters=4000000",
            f"--mixture=weights:{mixture}",
        )
    )
    multilingual.prepare(arguments, arguments.out, text)


def weights(documents: Path) -> dict[str, float]:
    """Returns the weight of each language with documents in the vocabulary's text."""
    scripts = {
        language.code: language.script
        for path in documents.iterdir()
        if (language := languages.find(path.name)) is not None
    }
    shared = Counter(scripts.values())
    return {code: shared[script] ** -EVEN for code, script in sorted(scripts.items())}


if __name__ == "__main__":
    main(tyro.cli(Arguments))

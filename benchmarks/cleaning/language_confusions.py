"""Counts what CLD2 and CLD3 answer for texts whose language is known, and writes `confusions.tsv`.

    python benchmarks/cleaning/language_confusions.py [--text ../shared/data]

The texts are those to tune on (`labelled_texts.py`); `benchmarks/cleaning/language_id.py` scores on
others. A text for which both give the same wrong answer counts as mislabelled: 47 of the Bengali
ones are English. Shares are counts of pages, with ten pages more in the denominator, so a few pages
prove nothing. CLD2's answers for less than nine tenths of a text are left out: mixed text is not a
confusion, and their confidence says it.
"""

import argparse
import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from labelled_texts import LabelledText, tuned

from data.language_id import identifiers, opinions
from data.language_id.cld3 import CLD3Identifier
from data.language_id.combined import page_characters
from data.language_id.opinions import opinion_of_cld2, opinions_of
from data.languages import UNDETERMINED, find
from data.scripts import code_points

RESULT = Path(opinions.__file__).with_name("confusions.tsv")
LEAST_SHARE, FEWEST_TEXTS, ADDED_TEXTS = 0.01, 3, 10
UNMIXED = 0.9


class Counted(NamedTuple):
    """Answers to the texts of one language by one identifier."""

    identifier: str
    language: str
    answers: Counter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, default=Path("../shared/data"))
    texts = tuned(parser.parse_args().text)
    if not any(one.source != "gflanguages" for one in texts):
        print("needs labelled texts (--text)")
        return
    found = list(counted(texts))
    rows = sorted(row for one in found for row in confused(one))
    with RESULT.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("identifier", "language", "answer", "share"))
        writer.writerows(rows)
    print(f"{len(rows)} rows in {RESULT}")


def counted(texts: Iterable[LabelledText]) -> Iterator[Counted]:
    found: dict[tuple[str, str], Counter] = defaultdict(Counter)
    cld3, known = (
        CLD3Identifier(),
        opinions.cld2_confusions().knows | opinions.cld3_confusions().knows,
    )
    for one in texts:
        scripts = page_characters(code_points(one.text)).scripts
        first, confidence = opinion_of_cld2(identifiers.identify_by_cld2(one.text), scripts)[1:]
        said = opinions_of(opinions.cld3_confusions(), cld3.identify(one.text), scripts)
        second = said[0].language if said else None
        language = one.language if one.language in known else UNDETERMINED
        if first == second != language and language != UNDETERMINED:
            continue
        if confidence >= UNMIXED:
            found["cld2", language][first] += 1
        found["cld3", language][second] += 1
    return (Counted(*key, answers) for key, answers in found.items())


def confused(counted: Counted) -> Iterator[tuple[str, str, str, str]]:
    """Yields the rows of an identifier and a language: each wrong answer and its share."""
    texts = counted.answers.total() + ADDED_TEXTS
    for answer, count in counted.answers.items():
        is_wrong = answer not in (None, counted.language)
        if answer == UNDETERMINED and find(counted.language) is None:
            continue  # nothing hints at one of the many languages that mC4 lacks
        if is_wrong and count >= FEWEST_TEXTS and count >= LEAST_SHARE * texts:
            yield counted.identifier, counted.language, answer, f"{count / texts:.3f}"


if __name__ == "__main__":
    main()

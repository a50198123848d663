"""Applies C4's English line rules to every page: some lines go, and some pages."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from data.english_lines import clean
from pipeline.transforms.judge import REJECTED, rejected


class CleanLines(beam.PTransform):
    """Gives (kept, rejected) pages; kept ones have the lines that stayed."""

    def expand(self, input_or_inputs):
        return input_or_inputs | beam.FlatMap(_cleaned).with_outputs(REJECTED, main="kept")


def _cleaned(page: Any) -> Iterator[Any]:
    text, removed, reason = clean(page.text)
    if reason is None:
        yield page._replace(
            text=text, removed_lines=(*page.removed_lines, *sorted(removed.items()))
        )
    else:
        yield rejected(page, reason)

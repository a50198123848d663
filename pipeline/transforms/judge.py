"""Applies a rule to every page: kept pages go on, rejected ones leave by the other door."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from data.page import Page, Rejected, Rule

REJECTED = "rejected"


def rejected(page: Page, reason: str) -> TaggedOutput:
    """Returns the page as a step's second output."""
    return TaggedOutput(REJECTED, Rejected(page, reason))


class Judge(beam.PTransform):
    """Gives (kept, rejected) pages of one rule."""

    def __init__(self, rule: Rule):
        super().__init__()
        self._rule = rule

    def expand(self, input_or_inputs):
        return input_or_inputs | beam.FlatMap(_judged, self._rule).with_outputs(
            REJECTED, main="kept"
        )


def _judged(page: Any, rule: Rule) -> Iterator[Any]:
    reason = rule(page)
    yield page if reason is None else rejected(page, reason)

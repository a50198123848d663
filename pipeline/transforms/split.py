"""Puts each page into train or validation; which, `held_out` says.

A share of each language needs two bounded numbers a language beforehand (its count and its smallest
hashes); they travel as a side input of one entry a language, and the split itself stays local.
"""

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsDict
from apache_beam.transforms import combiners

from data.held_out import AsPublished, OneIn, ShareOfEachLanguage, split_up_to
from data.urls import normalized_hash


class Split(beam.PTransform):
    """Gives the pages with their split decided."""

    def __init__(self, held_out: OneIn | ShareOfEachLanguage | AsPublished):
        super().__init__()
        self._held_out = held_out

    def expand(self, input_or_inputs):
        if isinstance(self._held_out, OneIn):
            return input_or_inputs | beam.Map(_split_one_in, self._held_out)
        if isinstance(self._held_out, AsPublished):
            return input_or_inputs | beam.Map(_leave_split, self._held_out.otherwise)
        last = input_or_inputs | "FindLastHeldOut" >> LastHeldOut(self._held_out)
        return input_or_inputs | beam.Map(_split_up_to, AsDict(last))


class LastHeldOut(beam.PTransform):
    """Gives (language, largest hash that is held out)."""

    def __init__(self, held_out: ShareOfEachLanguage):
        super().__init__()
        self._held_out = held_out

    def expand(self, input_or_inputs):
        held_out = self._held_out
        hashes = input_or_inputs | "HashByLanguage" >> beam.Map(
            lambda page: (page.language, normalized_hash(page.url))
        )
        counts = hashes | "CountByLanguage" >> combiners.Count.PerKey()
        smallest = hashes | "SmallestByLanguage" >> combiners.Top.SmallestPerKey(held_out.maximum)
        return (
            {"pages": counts, "smallest": smallest}
            | beam.CoGroupByKey()
            | "LastHeldOut"
            >> beam.MapTuple(
                lambda language, known: (
                    language,
                    held_out.last_held_out(*known["pages"], *known["smallest"]),
                )
            )
        )


def _split_one_in(page: Any, held_out: OneIn) -> Any:
    return page._replace(split=held_out.split(normalized_hash(page.url)))


def _leave_split(page: Any, otherwise: OneIn) -> Any:
    return page if page.split else _split_one_in(page, otherwise)


def _split_up_to(page: Any, last_held_out: dict[str, bytes]) -> Any:
    split = split_up_to(normalized_hash(page.url), last_held_out[page.language])
    return page._replace(split=split)

"""Language and split in the file names of published C4 and mC4.

    c4-sw.tfrecord-00003-of-00010.json.gz               mC4, Swahili, train
    c4-zh-Latn-validation.tfrecord-00000-of-00001.json.gz   mC4, Chinese in Latin script, validation
    c4-und.tfrecord-00000-of-01024.json.gz              mC4, undetermined language
    c4-validation.00000-of-00008.json.gz                C4, which is English
    train-00000-of-00002.parquet                        no language, but a split

Their pages have only text, url and timestamp, so language and split are in the name alone.
"""

import re
from typing import NamedTuple

from data.languages import declared

MC4 = re.compile(
    r"c4-(?P<language>[a-z]{2,3}(-Latn)?)(?P<validation>-validation)?\.tfrecord-\d+-of-\d+\."
)
C4 = re.compile(r"c4-(?P<split>train|validation)\.\d+-of-\d+\.")
SHARD = re.compile(r"(?P<split>train|validation|test)-\d+-of-\d+\.")


class Published(NamedTuple):
    """Language and split of a file; None and "" where its name has none."""

    language: str | None = None
    split: str = ""


def published_as(name: str) -> Published:
    """Returns the language and the split in the name of a file."""
    if found := MC4.match(name):
        split = "validation" if found["validation"] else "train"
        return Published(declared(found["language"]), split)
    if found := C4.match(name):
        return Published("en", found["split"])
    if found := SHARD.match(name):
        return Published(None, found["split"])
    return Published()
